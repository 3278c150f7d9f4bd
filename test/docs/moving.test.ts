import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { expect } from "chai";
import ts from "typescript";
import { headOf, missingOptions } from "./moving.js";

const jwt = "docs/migrate-jwt.md";
const sessions = "docs/migrate-sessions.md";
const limits = "docs/migrate-rate-limits.md";

/** Classes of rate-limiter-flexible for stores that Portcullis does not have: one sentence of the page is for all. */
const ofOtherStores = /^RateLimiter(?:Mongo|MySQL|Postgres|SQLite|Prisma|Drizzle|Memcache|Dynamo|Valkey|Etcd|Redis)/;

/** Every option of the libraries that people come from, as their own documents and types list them. */
const peers: Readonly<Record<string, Peer>> = {
  "express-jwt": {
    document: jwt,
    version: "8.5.1",
    options: [
      ...["secret", "algorithms", "credentialsRequired", "getToken", "isRevoked", "onExpired", "requestProperty"],
      ...[".unless", "path", "method", "useOriginalUrl", "ext", "custom", "UnauthorizedError", "GetVerificationKey"],
    ],
  },
  jsonwebtoken: {
    document: jwt,
    version: "9.0.3",
    options: [
      ...["algorithms", "audience", "issuer", "subject", "jwtid", "nonce", "maxAge", "clockTolerance", "complete"],
      ...["ignoreExpiration", "ignoreNotBefore", "clockTimestamp", "allowInvalidAsymmetricKeyTypes"],
      ...["jwt.sign", "jwt.decode"],
    ],
  },
  "koa-jwt": {
    document: jwt,
    version: "4.0.4",
    options: [
      ...["secret", "algorithms", "audience", "issuer", "cookie", "getToken", "isRevoked", "passthrough", "key"],
      ...["tokenKey", "debug", ".unless", "path", "method", "ctx.state.secret", "ctx.state.jwtOriginalError"],
    ],
  },
  "passport-jwt": {
    document: jwt,
    version: "4.0.1",
    options: [
      ...["secretOrKey", "secretOrKeyProvider", "jwtFromRequest", "fromHeader", "fromBodyField"],
      ...["fromUrlQueryParameter", "fromAuthHeaderWithScheme", "fromAuthHeaderAsBearerToken", "fromExtractors"],
      ...["versionOneCompatibility", "issuer", "audience", "algorithms", "ignoreExpiration", "passReqToCallback"],
      ...["jsonWebTokenOptions", "verify", "req.user", "failWithError", "session", "failureRedirect"],
    ],
  },
  "jwks-rsa": {
    document: jwt,
    version: "4.1.0",
    options: [
      ...["jwksUri", "cache", "cacheMaxEntries", "cacheMaxAge", "rateLimit", "jwksRequestsPerMinute", "timeout"],
      ...["requestHeaders", "requestAgent", "proxy", "fetcher", "getKeysInterceptor", "handleSigningKeyError"],
      ...["cacheMaxAgeFallback", "onStaleCacheFallback", "hapiJwt2Key"],
      ...["expressJwtSecret", "koaJwtSecret", "passportJwtSecret"],
    ],
  },
  "express-session": {
    document: sessions,
    version: "1.19.0",
    options: [
      ...["secret", "store", "name", "cookie.domain", "cookie.sameSite", "cookie.secure", "cookie.partitioned"],
      ...["cookie.httpOnly", "cookie.path", "cookie.maxAge", "cookie.expires", "cookie.priority", "cookie.encode"],
      ...["rolling", "resave", "saveUninitialized", "unset", "genid", "proxy", "req.session.regenerate"],
      ...["req.session.destroy", "req.session.save", "reload", "touch", "req.session.id", "req.sessionID"],
      ...["req.session.cookie", "store.all", "store.length", "store.clear"],
    ],
  },
  passport: {
    document: sessions,
    version: "0.7.0",
    options: [
      ...["passport.initialize", "passport.session", "passport.authenticate", "req.logIn", "req.login", "req.logOut"],
      ...["req.logout", "serializeUser", "deserializeUser", "req.user", "req.isAuthenticated", "req.isUnauthenticated"],
      ...["successRedirect", "failureRedirect", "successMessage", "failureMessage", "successFlash", "failureFlash"],
      ...["successReturnToOrRedirect", "keepSessionInfo", "authInfo", "assignProperty", "userProperty", "session"],
      ...["failWithError", "key", "compat", "pauseStream"],
    ],
  },
  "express-oauth2-jwt-bearer": {
    document: sessions,
    version: "1.10.0",
    options: [
      ...["issuerBaseURL", "issuer", "audience", "jwksUri", "secret", "tokenSigningAlg", "authRequired", "strict"],
      ...["clockTolerance", "maxTokenAge", "validators", "agent", "cacheMaxAge", "cooldownDuration", "timeoutDuration"],
      ...["mtls", "getCertificate", "dpop", "enabled", "required", "iatOffset", "iatLeeway", "ISSUER_BASE_URL"],
      ...["AUDIENCE", "requiredScopes", "scopeIncludesAny", "claimEquals", "claimIncludes", "claimCheck"],
      ...["req.auth.payload", "cache", "discovery", "jwks", "maxEntries", "ttl", "publicKey", "mcd", "issuers"],
    ],
  },
  "express-openid-connect": {
    document: sessions,
    version: "3.4.0",
    options: [
      ...["secret", "session.name", "session.store", "session.genid", "session.rolling", "session.rollingDuration"],
      ...["session.absoluteDuration", "session.cookie", "session.signSessionStoreCookie"],
      ...["session.requireSignedSessionStoreCookie", "auth0Logout", "authorizationParams", "logoutParams", "baseURL"],
      ...["clientID", "clientSecret", "clockTolerance", "enableTelemetry", "errorOnRequiredAuth", "attemptSilentLogin"],
      ...["getLoginState", "afterCallback", "identityClaimFilter", "idpLogout", "idTokenSigningAlg", "issuerBaseURL"],
      ...["legacySameSiteCookie", "authRequired", "routes", "clientAuthMethod", "transactionCookie", "httpTimeout"],
      ...["httpUserAgent", "customFetch", "tokenEndpointParams", "pushedAuthorizationRequests", "backchannelLogout"],
      ...["onLogoutToken", "isLoggedOut", "onLogin", "discoveryCacheMaxAge", "requestObjectSigningKey", "useMtls"],
      ...["requestObjectSigningKeyId", "requestObjectSigningAlg", "domain", "path", "secure", "sameSite", "httpOnly"],
      ...["session.cookie.transient", "req.oidc.idToken", "refreshToken", "customTokenExchange", "res.oidc.login"],
      ...["requestSessionTransferToken", "buildSessionTransferRedirect", "callback", "res.oidc.logout"],
      ...["clientAssertionSigningKey", "clientAssertionSigningAlg", "requiresAuth", "claimEquals", "claimIncludes"],
      ...["claimCheck", "req.oidc.user", "req.oidc.isAuthenticated", "accessToken", "fetchUserInfo"],
    ],
  },
  "Auth.js": {
    document: sessions,
    version: "5",
    options: [
      ...["providers", "secret", "session.strategy", "session.maxAge", "session.updateAge", "jwt.maxAge", "jwt.encode"],
      ...["session.generateSessionToken", "jwt.decode", "pages", "callbacks.signIn", "callbacks.redirect"],
      ...["callbacks.session", "callbacks.jwt", "events", "adapter", "debug", "logger", "theme", "useSecureCookies"],
      ...["cookies", "trustHost", "skipCSRFCheck", "raw", "basePath", "redirectProxyUrl", "experimental", "auth"],
      ...["getServerSession", "getSession", "getToken", "signIn", "signOut", "AUTH_SECRET", "NEXTAUTH_SECRET"],
    ],
  },
  "express-rate-limit": {
    document: limits,
    version: "8.7.4",
    options: [
      ...[
        "windowMs",
        "limit",
        "max",
        "message",
        "statusCode",
        "handler",
        "legacyHeaders",
        "standardHeaders",
        "headers",
      ],
      ...["draft_polli_ratelimit_headers", "identifier", "retryAfter", "requestPropertyName", "skipFailedRequests"],
      ...["skipSuccessfulRequests", "requestWasSuccessful", "keyGenerator", "ipv6Subnet", "skip", "store", "validate"],
      ...["passOnStoreError", "logger", "ipKeyGenerator", "resetKey", "getKey", "req.rateLimit"],
    ],
  },
  "koa-ratelimit": {
    document: limits,
    version: "6.0.0",
    options: [
      ...["driver", "db", "duration", "max", "id", "namespace", "headers", "remaining", "reset", "total"],
      ...["disableHeader", "whitelist", "blacklist", "throw", "errorMessage", "status", "onLimited"],
      "ctx.state.rateLimit",
    ],
  },
  "@fastify/rate-limit": {
    document: limits,
    version: "11.2.0",
    options: [
      ...["global", "max", "ban", "timeWindow", "hook", "cache", "allowList", "redis", "store", "nameSpace"],
      ...["continueExceeding", "skipOnError", "keyGenerator", "ipv6Subnet", "errorResponseBuilder", "enableDraftSpec"],
      ...["addHeaders", "addHeadersOnExceeding", "onExceeding", "onExceeded", "onBanReach", "groupId"],
      ...["exponentialBackoff", "config.rateLimit", "fastify.createRateLimit"],
    ],
  },
  "rate-limiter-flexible": { document: limits, ...readTypes("rate-limiter-flexible") },
};

describe("the pages for those who come from another library", () => {
  for (const [library, { document, version, options }] of Object.entries(peers)) {
    it(`${document} has an entry for every option of ${library} ${version}`, () => {
      expect(missingOptions(document, library, options)).to.deep.equal([]);
      expect(headOf(document, library)).to.equal(`${library} ${version.split(".").slice(0, 2).join(".")}`);
    });
  }

  it("would be found out if an option were missing", () => {
    expect(missingOptions(jwt, "koa-jwt", ["secret", "grumpy"])).to.deep.equal(["grumpy"]);
  });

  it("have an entry for each part of Nest that they replace", () => {
    const parts = [
      ...["AuthGuard", "Public", "JwtStrategy.validate", "req.user", "Roles", "JwtService.verifyAsync"],
      ...["JwtService.signAsync", "ThrottlerModule.forRoot", "onApplicationShutdown"],
    ];
    expect(missingOptions(jwt, "Nest", parts)).to.deep.equal([]);
  });
});

/** A library that people come from. */
interface Peer {
  readonly document: string;
  /** The version whose documents and types have these options. */
  readonly version: string;
  readonly options: readonly string[];
}

/** All options, classes, methods and results of a package that is installed here, from its types. */
function readTypes(name: string): Pick<Peer, "version" | "options"> {
  const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
  const { version, types } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string; types: string };
  const file = ts.createSourceFile(
    types,
    readFileSync(join(dirname(manifest), types), "utf8"),
    ts.ScriptTarget.Latest,
    true,
  );
  const names = new Set<string>();
  for (const statement of file.statements) {
    const isOptions = ts.isInterfaceDeclaration(statement) && /Op(?:tion|t)s$/.test(statement.name.text);
    const isClass = ts.isClassDeclaration(statement) && !/Abstract$|^RateLimiterRes$/.test(statement.name?.text ?? "");
    if (isOptions) for (const { name: member } of statement.members) names.add(member?.getText() ?? "");
    else if (isClass) names.add(statement.name?.getText() ?? "");
  }
  return { version, options: [...names].filter((one) => !ofOtherStores.test(one)) };
}
