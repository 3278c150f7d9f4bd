import { types } from "node:util";

/** May it be written? */
export function isChunk(chunk: unknown): chunk is string | Uint8Array {
  // Also one of another realm, as test runners and `node:vm` have them.
  return typeof chunk === "string" || types.isUint8Array(chunk);
}

/** What the end of a response says if it says it all; undefined if that cannot be told. */
export function wholeOf(chunk: unknown, encoding: unknown): Buffer | undefined {
  return isChunk(chunk) ? bytesOf(chunk, encoding, "same") : Buffer.alloc(0);
}

/**
 * A chunk as bytes: the same ones, or a copy where they are kept for longer than its owner may leave them alone. Undefined
 * for a text in an encoding that nobody knows.
 */
export function bytesOf(chunk: string | Uint8Array, encoding: unknown, how: "same" | "copy"): Buffer | undefined {
  if (typeof chunk !== "string")
    return how === "copy" ? Buffer.from(chunk) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (typeof encoding !== "string") return Buffer.from(chunk);
  return Buffer.isEncoding(encoding) ? Buffer.from(chunk, encoding) : undefined;
}
