import type { TokenReader, TokenSource } from "../auth/credentials.js";
import { findCookies } from "../http/cookies.js";
import type { Exchange } from "../http/exchange.js";
import type { GateExchange } from "../request/state.js";
import { isTargetField } from "./target-uri.js";

/** The application's rules for which request headers are credentials; names in lower case. */
export interface CredentialRules {
  readonly add: ReadonlySet<string>;
  readonly except: ReadonlySet<string>;
}

/** The places where a gate finds the identity of a client. */
export interface IdentitySources<Raw> {
  /** Headers that limit policies count by, in lower case. */
  readonly headers: ReadonlySet<string>;
  /** Cookies that carry tokens. */
  readonly cookies: readonly string[];
  /** The application's functions that find a token. */
  readonly readers: readonly TokenReader<Raw>[];
}

/** The credentials of a request. */
export interface FoundCredentials {
  /** The name of a header, or "cookie", "token" or "certificate". */
  readonly where: string;
  /** The headers with credentials, except Authorization. */
  readonly headers: readonly string[];
}

/**
 * Headers with credentials, or with the identity of a client that a proxy has verified; without Authorization. Names are
 * compared with `-` for `_`: OIDC_CLAIM_sub of mod_auth_openidc, REMOTE_USER, SM_USER.
 */
const exact: ReadonlySet<string> = new Set([
  ...["dpop", "signature-input", "userid", "eppn", "client-id", "x-client-id", "l5d-client-id", "x-spiffe-id"],
  ...["x-account", "x-actor", "x-customer", "x-email", "x-identity", "x-login", "x-principal", "x-subject"],
  ...["x-group", "x-groups", "x-permissions", "x-role", "x-roles", "x-scope", "x-scopes", "x-act-as", "x-otp"],
  ...["bearer", "x-bearer", "session", "x-session", "sessionid", "x-sessionid", "sid", "x-sid"],
  // API gateways of Google, Azure App Service, nginx and others.
  ...["x-endpoint-api-userinfo", "x-apigateway-api-userinfo", "x-arr-clientcert", "x-ssl-cert", "x-cert"],
]);

const families = new RegExp(
  `^(?:${[
    // oauth2-proxy, Traefik, Envoy, Louketo, Authelia, Kubernetes.
    "x-forwarded-(?:user|email|groups?|roles?|preferred-username|login|name|sub|uid|client-cert|tls-client-cert)",
    "x-auth-|x-authenticated-|x?-?remote-(?:user|groups?|roles?|name|email|extra-)|(?:x-)?impersonate-",
    // X-User-Agent and the address of a user are no identities.
    "x-user(?!-agent|-?ip$|-addr)|x-username",
    // Certificates of clients that a proxy has verified (RFC 9440 among them).
    "(?:x-)?client-(?:cert|dn|verify|subject)|(?:x-)?(?:ssl|tls)-client-|cf-client-cert|x-amzn-mtls-",
    // Cloudflare Access, AWS, Azure, Google, Tailscale.
    "cf-access-|x-amzn-oidc-|x-amzn-ava-|x-amz-cognito-|x-ms-client-principal|x-ms-token-|x-goog-authenticated-user-",
    "x-appengine-(?:user-(?!ip)|auth-domain)|tailscale-user-",
    // Caddy, Authentik, Grafana, Pomerium, Vouch, Kong, Hasura, RapidAPI, IBM, mod_auth_openidc, Shibboleth, SiteMinder, WebSEAL.
    "x-token-(?:subject|user)|x-(?:jwt-)?claims?(?:-|$)",
    "x-authentik-|x-webauth-|x-pomerium-|x-vouch-|x-consumer-|x-credential-|x-hasura-|x-rapidapi-|x-ibm-client-",
    "(?:x-)?oidc-|(?:x-)?shib-|sm-?user|sm-universalid|iv-(?:user|groups|creds)|cas-user|x-jwt-|x-parse-",
  ].join("|")})`,
);

/** `X-Api-Key`, `Ocp-Apim-Subscription-Key`, `X-Auth-Token`, `Proxy-Authorization`, `X-Goog-Iap-Jwt-Assertion`, ... */
const endings = new RegExp(
  `(?:^|-)(?:${[
    "(?:api|auth|access|admin|app|application|functions|license|master|private|secret|signing|subscription|user)-?key",
    "auth|authentication|authorization|jwt|assertion|secret|password|credentials?|signature|on-behalf-of",
    // X-Sso-User, X-Ldap-Username; browsers send Sec-Fetch-User with every navigation.
    "(?<!^sec-fetch-)user|user-?name|user-?id|user-?email|userinfo",
    "(?:account|actor|customer|member|owner|person|principal|session|subject)-id",
  ].join("|")})$|(?<!csrf-?|xsrf-?)token$`,
);

/** Headers with the address of a client, which is no identity. */
const addresses: ReadonlySet<string> = new Set([
  ...["x-forwarded-for", "x-original-forwarded-for", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "client-ip"],
  ...["cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "true-client-ip", "fastly-client-ip"],
  ...["fly-client-ip", "do-connecting-ip", "x-vercel-forwarded-for", "x-nf-client-connection-ip", "x-azure-clientip"],
  ...["x-azure-socketip", "x-appengine-user-ip", "x-envoy-external-address", "cloudfront-viewer-address"],
  ...["x-user-ip", "x-remote-addr", "x-remote-ip", "remote-addr"],
]);

/** True if a header of this lower-case name is widely used for credentials. */
export function isWellKnownCredential(name: string): boolean {
  const usual = name.includes("_") ? name.replaceAll("_", "-") : name;
  if (addresses.has(usual)) return false;
  return exact.has(usual) || families.test(usual) || endings.test(usual);
}

/** The places of tokens besides Authorization: those that the gate reads, and the cookies that it sets. */
export function tokenPlaces<Raw>(
  sources: readonly TokenSource<Raw>[],
  written: { readonly access: string | undefined; readonly refresh: string } | undefined,
): Pick<IdentitySources<Raw>, "cookies" | "readers"> {
  const cookies = sources.flatMap((source) => (source.kind === "cookie" ? [source.name] : []));
  const readers = sources.flatMap((source) => (source.kind === "function" ? [source.read] : []));
  if (written !== undefined) cookies.push(written.refresh, ...(written.access === undefined ? [] : [written.access]));
  return { cookies: [...new Set(cookies)], readers };
}

/**
 * The credentials of a request: Authorization (RFC 9111 3.5) and others; undefined for an anonymous request. `wellKnown` are the
 * names of its fields that are widely used for credentials.
 */
export function findCredentials<Raw>(
  exchange: GateExchange<Raw>,
  wellKnown: readonly string[],
  { add, except }: CredentialRules,
  identity: IdentitySources<Raw>,
): FoundCredentials | undefined {
  const isExamined = add.size > 0 || except.size > 0 || identity.headers.size > 0;
  const names = isExamined ? exchange.headerNames : wellKnown;
  // Most requests have none.
  const headers =
    names.length === 0
      ? names
      : names.filter((name) => {
          if (name === "authorization" || except.has(name)) return false;
          return add.has(name) || isIdentity(name, identity.headers) || wellKnown.includes(name);
        });
  const where =
    (exchange.header("authorization") === undefined ? undefined : "authorization") ??
    headers[0] ??
    (exchange.state.identified ? "token" : tokenBeside(exchange, identity)) ??
    (exchange.clientCertificate === true ? "certificate" : undefined);
  return where === undefined ? undefined : { where, headers };
}

/** True for a header that policies count by, unless it has an address. */
function isIdentity(name: string, counted: ReadonlySet<string>): boolean {
  // Every request has a User-Agent. Target fields are part of the key already.
  return counted.has(name) && !addresses.has(name) && name !== "user-agent" && !isTargetField(name);
}

/** A token outside Authorization: without a guard in front of the cache, no middleware has looked for it. */
function tokenBeside<Raw>(exchange: Exchange<Raw>, { cookies, readers }: IdentitySources<Raw>): string | undefined {
  if (cookies.length > 0) {
    const sent = exchange.header("cookie");
    if (cookies.some((name) => findCookies(sent, name).length > 0)) return "cookie";
  }
  return readers.some((read) => presents(read, exchange.raw)) ? "token" : undefined;
}

/** True also if the reader throws: the request may have a token all the same. */
function presents<Raw>(read: TokenReader<Raw>, raw: Raw): boolean {
  try {
    const token: unknown = read(raw);
    if (token instanceof Promise) token.catch(() => undefined);
    return token !== undefined && token !== null && token !== "";
  } catch {
    return true;
  }
}
