/** An option that is known where the foreign name was found, and the words that replace it there. */
type Replacement = readonly [known: string, write: string];

/** A replacement as an option of a limit, and of the whole gate. */
function inLimit(name: string, write: string = name): readonly Replacement[] {
  return [
    [name, write],
    ["limits", `limits: [{ ${write} }]`],
  ];
}

/** A replacement as an option of `auth`, and of the whole gate. */
function inAuth(name: string, write: string = name): readonly Replacement[] {
  return [
    [name, write],
    ["auth", `auth: { ${write} }`],
  ];
}

function inCache(name: string, write: string = name): readonly Replacement[] {
  return [
    [name, write],
    ["cache", `cache: { ${write} }`],
  ];
}

/** Options of a group that were given to the gate itself. */
function atOther(
  group: string,
  names: readonly string[],
  write: (name: string) => string = (name) => `${group}: { ${name} }`,
): Record<string, readonly Replacement[]> {
  return Object.fromEntries(names.map((name) => [name.toLowerCase(), [[group, write(name)]]] as const));
}

const oneTtl = inCache("ttl", 'ttl: "60s"');
const redisUrl: readonly Replacement[] = [
  ["url", "url"],
  ["redis", 'redis: "redis://host:6379"'],
];
const onlyFailures = inLimit("countOnly", 'countOnly: "failures"');
const perKey = inLimit("per", 'per: "ip", "user", { header }, { claim } or a function');
const headerFormat: readonly Replacement[] = [
  ["headers", 'headers: "draft-8", "draft-7", "draft-6", "legacy" or false'],
  ["window", "the option headers of the gate"],
];

/**
 * Options of other libraries, in lower case: express-rate-limit, rate-limiter-flexible, koa-ratelimit, express-jwt, koa-jwt,
 * express-oauth2-jwt-bearer, passport-jwt, jsonwebtoken, jwks-rsa, keyv, cache-manager, node-cache, redlock, ioredis.
 */
const foreign: Readonly<Record<string, readonly Replacement[]>> = {
  // Rate limits.
  max: [...inLimit("limit"), ["entries", "entries"]],
  points: inLimit("limit"),
  maxrequests: inLimit("limit"),
  tokensperinterval: inLimit("limit"),
  windowms: inLimit("window", 'window: 60_000 (milliseconds) or "1m"'),
  duration: inLimit("window", 'window: "60s" (a number is milliseconds)'),
  interval: inLimit("window", 'window: "60s" (a number is milliseconds)'),
  keygenerator: perKey,
  key: perKey,
  id: perKey,
  identifier: inLimit("name"),
  skipsuccessfulrequests: onlyFailures,
  skipfailedrequests: inLimit("countOnly", 'countOnly: "successes"'),
  whitelist: inLimit("allow"),
  allowlist: inLimit("allow"),
  blacklist: inLimit("deny"),
  denylist: inLimit("deny"),
  blocklist: inLimit("deny"),
  blockduration: inLimit("block", 'block: { after: 10, for: "5m" }'),
  standardheaders: headerFormat,
  legacyheaders: headerFormat,
  disableheader: headerFormat,
  passonstoreerror: [["onStoreError", 'onStoreError: "allow"'], ...inLimit("onStoreError", 'onStoreError: "allow"')],
  skiponerror: [["onStoreError", 'onStoreError: "allow"'], ...inLimit("onStoreError", 'onStoreError: "allow"')],
  insurancelimiter: inLimit("onStoreError", 'onStoreError: "local"'),
  ipv6subnet: [
    ["ipv6PrefixLength", "ipv6PrefixLength"],
    ["window", "the option ipv6PrefixLength of the gate"],
  ],
  handler: [["onDeny", 'onDeny: "throw", and handle the DenialError in the error handler of the application']],
  message: [["onDeny", 'onDeny: "throw", and handle the DenialError in the error handler of the application']],
  // Tokens.
  jwtsecret: inAuth("secret"),
  secretorkey: inAuth("secret", "secret or publicKey"),
  secretorkeyprovider: inAuth("secret", "secret or publicKey, which may be functions, with issuer"),
  secretkey: [["signingKey", "signingKey"], ...inAuth("secret")],
  privatekey: [
    ["signingKey", "signingKey"],
    ["tokens", "tokens: { signingKey }"],
  ],
  publickeyorsecret: inAuth("publicKey"),
  algorithm: inAuth("algorithms", 'algorithms: ["HS256"]'),
  alg: [["algorithm", "algorithm"], ...inAuth("algorithms", 'algorithms: ["RS256"]')],
  tokensigningalg: inAuth("algorithms", 'algorithms: ["RS256"]'),
  aud: inAuth("audience"),
  iss: inAuth("issuer"),
  sub: [["subject", "subject"], ...inAuth("subjectClaim")],
  issuerbaseurl: inAuth("issuer"),
  issuerurl: inAuth("issuer"),
  jwksurl: inAuth("jwksUri"),
  jwks_uri: inAuth("jwksUri"),
  clockskew: inAuth("clockTolerance"),
  leeway: inAuth("clockTolerance"),
  credentialsrequired: [
    ["optional", "optional: true instead of credentialsRequired: false"],
    ...inAuth("optional", "optional: true"),
  ],
  passthrough: [["optional", "optional: true"], ...inAuth("optional", "optional: true")],
  authrequired: [
    ["optional", "optional: true instead of authRequired: false"],
    ...inAuth("optional", "optional: true"),
  ],
  gettoken: inAuth("tokenFrom"),
  jwtfromrequest: inAuth("tokenFrom"),
  tokengetter: inAuth("tokenFrom"),
  cookie: inAuth("tokenFrom", "tokenFrom: { cookie }"),
  requestproperty: [
    ["property", "property"],
    ["issuer", "the option property of the gate"],
  ],
  userproperty: [
    ["property", "property"],
    ["issuer", "the option property of the gate"],
  ],
  isrevoked: [
    ["revocation", "revocation: { isRevoked }"],
    ["issuer", "the option revocation: { isRevoked } of the gate"],
  ],
  expiresin: [
    ["accessLifetime", "accessLifetime"],
    ["tokens", "tokens: { accessLifetime }"],
    ["lifetime", "lifetime"],
    ["ttl", "ttl"],
  ],
  // Options of this library at the wrong level.
  ...atOther("auth", [
    "secret",
    "publicKey",
    "jwks",
    "jwksUri",
    "issuer",
    "audience",
    "algorithms",
    "clockTolerance",
    "tokenFrom",
  ]),
  ...atOther("limits", ["window", "per"], (name) => `limits: [{ ${name} }]`),
  ...atOther("cache", ["ttl", "grace", "codec"]),
  ...atOther("redis", ["url", "host", "port", "sentinels", "cluster", "password"]),
  ...atOther("tokens", ["signingKey", "accessLifetime"]),
  // Caches, locks.
  ttlseconds: oneTtl,
  ttlsec: oneTtl,
  ttlms: inCache("ttl", 'ttl: 60_000 (milliseconds) or "1m"'),
  stdttl: oneTtl,
  expire: oneTtl,
  expires: oneTtl,
  ex: oneTtl,
  px: oneTtl,
  maxage: [["ttl", 'ttl: "60s"'], ...inAuth("maxTokenAge")],
  stalewhilerevalidate: inCache("swr", 'swr: true and grace: "1m"'),
  staleiferror: inCache("grace"),
  graceperiod: inCache("grace"),
  softtimeout: inCache("timeout"),
  maxsize: [["bytes", "bytes"]],
  fresh: [["forceFresh", "forceFresh: true"]],
  forcerefresh: [["forceFresh", "forceFresh: true"]],
  serializer: inCache("codec"),
  leasems: [["lease", "lease"]],
  // Redis.
  redisurl: redisUrl,
  redis_url: redisUrl,
  uri: redisUrl,
  connectionstring: redisUrl,
  redisclient: [["redis", "redis"]],
  client: [["redis", "redis"]],
  store: [
    ["redis", "redis"],
    ["window", "the option redis of the gate"],
  ],
  storeclient: [
    ["redis", "redis"],
    ["window", "the option redis of the gate"],
  ],
  keyprefix: [
    ["prefix", "prefix"],
    ["sentinels", "the option prefix of the gate"],
    ["window", "the option prefix of the gate"],
  ],
  user: [["username", "username"]],
  database: [["db", "db"]],
};

/** The words that replace an option of another library, where these options are known; undefined for another name. */
export function replacementOf(name: string, known: readonly string[]): string | undefined {
  const lower = name.toLowerCase();
  const replacements = Object.hasOwn(foreign, lower) ? foreign[lower] : undefined;
  return replacements?.find(([option]) => known.includes(option))?.[1];
}
