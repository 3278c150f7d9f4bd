import { expectEveryOption } from "./moving.js";

const document = "docs/authentication.md";

/** Every option of the libraries that people come from, as their own documents and types list them. */
const peers: Readonly<Record<string, readonly string[]>> = {
  "express-jwt": [
    ...["secret", "algorithms", "credentialsRequired", "getToken", "isRevoked", "onExpired", "requestProperty"],
    ...["audience", "issuer", "subject", "jwtid", "nonce", "maxAge", "clockTolerance", "complete", "ignoreExpiration"],
    ...["ignoreNotBefore", "clockTimestamp", "allowInvalidAsymmetricKeyTypes", ".unless", "UnauthorizedError"],
  ],
  "koa-jwt": [
    ...["secret", "algorithms", "audience", "issuer", "cookie", "getToken", "isRevoked", "passthrough", "key"],
    ...["tokenKey", "debug", ".unless", "ctx.state.secret"],
  ],
  "express-oauth2-jwt-bearer": [
    ...["issuerBaseURL", "issuer", "audience", "jwksUri", "secret", "tokenSigningAlg", "authRequired", "strict"],
    ...["clockTolerance", "maxTokenAge", "validators", "agent", "cacheMaxAge", "cooldownDuration", "timeoutDuration"],
    ...[
      "mtls",
      "getCertificate",
      "dpop",
      "enabled",
      "required",
      "iatOffset",
      "iatLeeway",
      "ISSUER_BASE_URL",
      "AUDIENCE",
    ],
    ...["requiredScopes", "scopeIncludesAny", "claimEquals", "claimIncludes", "claimCheck", "req.auth.payload"],
  ],
  "passport-jwt": [
    ...["secretOrKey", "secretOrKeyProvider", "jwtFromRequest", "fromHeader", "fromBodyField"],
    ...["fromUrlQueryParameter", "fromAuthHeaderWithScheme", "fromAuthHeaderAsBearerToken", "fromExtractors"],
    ...["issuer", "audience", "algorithms", "ignoreExpiration", "passReqToCallback", "jsonWebTokenOptions"],
    ...["verify", "req.user", "failWithError", "session"],
  ],
  Nest: [
    ...["AuthGuard", "Public", "JwtStrategy.validate", "req.user", "Roles", "JwtService.verifyAsync"],
    ...["JwtService.signAsync", "ThrottlerModule.forRoot", "onApplicationShutdown"],
  ],
};

describe("moving from another library, in docs/authentication.md,", () => {
  for (const [library, options] of Object.entries(peers)) {
    it(`${library}: has an entry for every option`, () => {
      expectEveryOption(document, library, options);
    });
  }
});
