import { randomUUID } from "node:crypto";
import { SignJWT } from "jose";

/** An HMAC secret long enough for HS512; its text is easy to find in a log that must not hold it. */
export const testSecret: string = "test-secret-".padEnd(64, "0123456789abcdef");
export const testAudience = "test-api";
export const testIssuer = "https://issuer.test";

/** Option `auth` of a gate that accepts the tokens of {@link signToken}. */
export const testAuth: {
  readonly secret: string;
  readonly algorithms: readonly ["HS256"];
  readonly audience: string;
  readonly issuer: string;
} = { secret: testSecret, algorithms: ["HS256"], audience: testAudience, issuer: testIssuer };

/** Now, in whole unix seconds. */
export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

/**
 * Signs a compact HS256 token that is valid for five minutes. Given claims override; a claim given as undefined is left out.
 */
export async function signToken(
  claims: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
): Promise<string> {
  const iat = nowSeconds();
  const payload = {
    iss: testIssuer,
    aud: testAudience,
    sub: "alice",
    jti: randomUUID(),
    iat,
    exp: iat + 300,
    ...claims,
  };
  return new SignJWT(payload).setProtectedHeader({ alg: "HS256", ...header }).sign(Buffer.from(testSecret));
}
