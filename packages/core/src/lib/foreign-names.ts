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

/** A replacement where the options of a whole gate are known. */
function atGate(write: string): readonly Replacement[] {
  return [["limits", write]];
}

/** A replacement as an option of `guard()`. */
function inGuard(write: string): readonly Replacement[] {
  return [["checks", write]];
}

const exceptions: readonly Replacement[] = [
  ["checks", "app.use(gate.unless({ path }, gate.guard()))"],
  ["limits", "app.use(gate.unless({ path }, gate.guard()))"],
  ["window", "when: { path, method }, or skip: (req) => true"],
];
const proxySetting: readonly Replacement[] = [
  ["limits", 'app.set("trust proxy", 1) of Express, or new Koa({ proxy: true, maxIpsCount: 1 })'],
  ["window", 'app.set("trust proxy", 1) of Express, or new Koa({ proxy: true, maxIpsCount: 1 })'],
];
const scopeCheck = inGuard('gate.requireScopes("orders:read") behind guard()');
const tokenFunction: readonly Replacement[] = [
  ["origins", 'a function, (req) => req.headers["x-token"], or "header" for Authorization'],
];
const gateAuth: readonly Replacement[] = [["checks", "the option auth of the gate"]];
const accessLifetime: readonly Replacement[] = [["accessLifetime", 'accessLifetime: "15m"']];
const idleLifetime: readonly Replacement[] = [["idleLifetime", 'idleLifetime: "14d"']];
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
  max: [["tracked", "local: { entries }"], ...inLimit("limit"), ["entries", "entries"]],
  ratelimit: atGate(`limits: [{ name, per, limit, window }]`),
  ratelimits: atGate(`limits: [{ name, per, limit, window }]`),
  ratelimiter: atGate(`limits: [{ name, per, limit, window }]`),
  throttle: atGate(`limits: [{ name, per, limit, window }]`),
  trustproxy: proxySetting,
  trustedproxies: proxySetting,
  proxy: proxySetting,
  skippaths: exceptions,
  excludepaths: exceptions,
  exclude: exceptions,
  except: exceptions,
  ignore: exceptions,
  ignorepaths: exceptions,
  publicpaths: exceptions,
  publicroutes: exceptions,
  unless: exceptions,
  path: inGuard("app.use(gate.when({ path }, gate.guard())), or mount the guard at the path"),
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
  // Middleware.
  limits: inGuard("the option limits of the gate, or gate.limit() behind guard()"),
  ondeny: atGate('gate.guard({ onDeny: "throw" })'),
  onerror: [
    ["checks", 'onDeny: "throw", and handle the DenialError in the error handler of the application'],
    ...atGate('gate.guard({ onDeny: "throw" }), and handle the DenialError in the error handler of the application'),
  ],
  failwitherror: inGuard('onDeny: "throw"'),
  failureredirect: inGuard('onDeny: "throw", and redirect in the error handler of the application'),
  session: inGuard("nothing: a guard keeps no session"),
  scope: scopeCheck,
  scopes: scopeCheck,
  requiredscopes: scopeCheck,
  permissions: scopeCheck,
  roles: inGuard('gate.requireRole("admin") behind guard()'),
  required: inGuard("optional: true instead of required: false"),
  cors: atGate("app.use(cors({ ... })) in front of the gate"),
  name: atGate('service: "orders-api", or telemetry: { gate: "orders" } for the name in metrics'),
  namespace: atGate('prefix, or service: "orders-api"'),
  jwt: atGate("auth: { ... }"),
  authentication: atGate("auth: { ... }"),
  debug: atGate("telemetry: { debug: true }"),
  // Tokens.
  ignoreexpiration: [["issuer", "nothing: exp is always checked"]],
  passreqtocallback: [["validate", "validate, which gets the token"]],
  domain: [["jwksUri", 'issuer: "https://example.auth0.com/"']],
  jwksrequestsperminute: [["remoteKeys", 'remoteKeys: { cooldown: "30s" }']],
  accessttl: accessLifetime,
  accesstokenttl: accessLifetime,
  accesstokenlifetime: accessLifetime,
  accesstokenexpiresin: accessLifetime,
  refreshttl: idleLifetime,
  refreshtokenttl: idleLifetime,
  refreshtokenlifetime: idleLifetime,
  refreshtokenexpiresin: idleLifetime,
  header: tokenFunction,
  query: tokenFunction,
  body: tokenFunction,
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
  secret: [["checks", "the option auth of the gate"], ["signingKey", "signingKey"], ...inAuth("secret")],
  issuer: [...gateAuth, ["auth", "auth: { issuer }"]],
  audience: [...gateAuth, ["auth", "auth: { audience }"]],
  algorithms: [...gateAuth, ["signingKey", 'algorithm: "ES256"'], ["auth", "auth: { algorithms }"]],
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
  client: [
    ["redis", "redis"],
    ["sentinels", "the client itself: redis: client"],
  ],
  socket: [["sentinels", "host and port"]],
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
