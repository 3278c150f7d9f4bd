import { randomBytes, randomUUID } from "node:crypto";
import { SignJWT } from "jose";
import { rangeError } from "./lib/validate.js";

/** Options of {@link createTokenFactory}. */
export interface TokenFactoryOptions {
  /**
   * HMAC secret of the tokens, of at least 32 bytes, for a service that runs with this secret. @default a random secret
   */
  readonly secret?: string | undefined;
  /** Claim `iss`. @default "https://issuer.test" */
  readonly issuer?: string | undefined;
  /** Claim `aud`. @default "test-api" */
  readonly audience?: string | undefined;
  /** Claim `sub`, unless `sign()` gets another. @default "test-user" */
  readonly subject?: string | undefined;
  /** Lifetime of tokens in seconds. @default 300 */
  readonly lifetimeSeconds?: number | undefined;
}

/** Signs tokens for the tests of an application. */
export interface TokenFactory {
  /** Option `auth` of a gate that accepts the tokens. */
  readonly auth: {
    readonly secret: string;
    readonly algorithms: readonly ["HS256"];
    readonly issuer: string;
    readonly audience: string;
  };
  /**
   * Signs a compact HS256 token with `iss`, `aud`, `sub`, `jti`, `iat` and `exp`. Given claims and header parameters override
   * these; a claim given as undefined is left out. So a test can make a token that is wrong in one way only.
   */
  sign(claims?: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>;
}

/**
 * Creates a token factory, for tests:
 * `portcullis({ redis: "memory", auth: tokens.auth })` accepts what `tokens.sign({ scope: "orders:read" })` signs.
 */
export function createTokenFactory(options: TokenFactoryOptions = {}): TokenFactory {
  const {
    issuer = "https://issuer.test",
    audience = "test-api",
    subject = "test-user",
    lifetimeSeconds = 300,
    secret = randomBytes(48).toString("base64url"),
  } = options;
  if (Buffer.byteLength(secret) < 32)
    throw rangeError("createTokenFactory().secret", "must have at least 32 bytes for HS256");
  const key = Buffer.from(secret);
  return {
    auth: { secret, algorithms: ["HS256"], issuer, audience },
    sign(claims = {}, header = {}) {
      const iat = Math.floor(Date.now() / 1000);
      const byDefault = {
        iss: issuer,
        aud: audience,
        sub: subject,
        jti: randomUUID(),
        iat,
        exp: iat + lifetimeSeconds,
      };
      return new SignJWT({ ...byDefault, ...claims }).setProtectedHeader({ alg: "HS256", ...header }).sign(key);
    },
  };
}
