import { randomBytes } from "node:crypto";

export const issuer = "https://orders.example.com";
export const audience = "orders-api";

/** The secret that signs tokens. Outside production it may be missing: then a new one is made at every start. */
export function loadSecret(given: string | undefined, production: boolean): Uint8Array {
  if (given) return Buffer.from(given);
  if (production) throw new Error("JWT_SECRET is required in production: a random text of at least 32 bytes");
  return randomBytes(48);
}

/**
 * The cookies that carry tokens to browsers. Production is https, where a name may promise that. Elsewhere the page is served
 * over http, and a browser might not keep cookies that are for https only.
 */
export function cookieOptions(production: boolean): { access: string; refresh: string; secure: boolean } {
  return production
    ? { access: "__Host-access", refresh: "__Secure-refresh", secure: true }
    : { access: "access", refresh: "refresh", secure: false };
}
