import { createHash } from "node:crypto";
import { testAuth } from "@portcullis/testkit";

/** What stands for an issuer in our own keys. */
export function issuerDigest(issuer: string = testAuth.issuer): string {
  return createHash("sha256").update(issuer).digest("hex").slice(0, 32);
}

/** What stands there for a gate that names no issuer. */
export const noIssuer: string = "0".repeat(32);
