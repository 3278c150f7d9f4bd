import { createHash } from "node:crypto";
import { checkIdentifier } from "../auth/issuer-scope.js";

// The text of identifiers in keys that does not depend on `keySecret`.

/** An identifier that keys contain as it is. */
export const plain: RegExp = /^[A-Za-z0-9_.-]{1,64}$/;

/** Well-formed text of 1 to 512 bytes: what the shared key families take as it is. */
export function isLiteral(identifier: string): boolean {
  checkIdentifier(identifier);
  return identifier.length <= 512 && identifier.isWellFormed() && Buffer.byteLength(identifier) <= 512;
}

/** A part of a key that does not depend on `keySecret`, so that it is the same for all services. */
export function readable(identifier: string): string {
  checkIdentifier(identifier);
  return plain.test(identifier) ? identifier : `~${sha256(identifier)}`;
}

/** By UTF-16 code units, so that ill-formed texts differ too. */
export function sha256(text: string): string {
  checkIdentifier(text);
  return createHash("sha256").update(Buffer.from(text, "utf16le")).digest("hex");
}

/** Our keys spread over this many hash tags: enough to balance a cluster, few enough to batch well. */
export const shards = 64;

/** Goes on with a hash (FNV-1a). */
export function hashOn(start: number, text: string): number {
  let hash = start;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash;
}

export function shardOf(hash: number): number {
  return (hash >>> 16) % shards;
}
