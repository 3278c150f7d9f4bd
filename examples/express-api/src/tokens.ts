import { randomBytes, randomUUID } from "node:crypto";
import { SignJWT } from "jose";
import type { User } from "./users.js";

export const issuer = "https://orders.example.com";
export const audience = "orders-api";
export const lifetimeSeconds = 15 * 60;

/** The secret that signs tokens. Outside production it may be missing: then a new one is made at every start. */
export function loadSecret(given: string | undefined, production: boolean): Uint8Array {
  if (given) return Buffer.from(given);
  if (production) throw new Error("JWT_SECRET is required in production: a random text of at least 32 bytes");
  return randomBytes(48);
}

/** An access token. Its `jti` is what a logout revokes. */
export function signToken(user: User, secret: Uint8Array): Promise<string> {
  return new SignJWT({ scope: user.scope })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setIssuer(issuer)
    .setAudience(audience)
    .setSubject(user.name)
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime(`${lifetimeSeconds}s`)
    .sign(secret);
}
