import { createHash } from "node:crypto";
import type { JWK } from "jose";

/** The members that say which public key it is, in their lexicographic order (RFC 7638 3.2), and no others. */
export function identifyingMembers({ kty, crv, x, y, n, e }: JWK): JWK {
  const members = kty === "RSA" ? { e, kty, n } : kty === "EC" ? { crv, kty, x, y } : { crv, kty, x };
  return members as JWK;
}

/** The thumbprint of a public key: base64url of SHA-256 (RFC 7638 3). */
export function jwkThumbprint(key: JWK): string {
  return createHash("sha256")
    .update(JSON.stringify(identifyingMembers(key)))
    .digest("base64url");
}
