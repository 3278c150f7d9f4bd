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
    ...["dpop", "enabled", "required", "iatOffset", "iatLeeway", "ISSUER_BASE_URL", "AUDIENCE"],
    ...["requiredScopes", "scopeIncludesAny", "claimEquals", "claimIncludes", "claimCheck", "req.auth.payload"],
  ],
};

describe("moving from another library, in docs/authentication.md,", () => {
  for (const [library, options] of Object.entries(peers)) {
    it(`${library}: has an entry for every option`, () => {
      expectEveryOption(document, library, options);
    });
  }
});
