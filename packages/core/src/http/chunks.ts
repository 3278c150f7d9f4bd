import { types } from "node:util";

/** Is the value a chunk that can be written? */
export function isChunk(chunk: unknown): chunk is string | Uint8Array {
  // It may come from another realm, as in test runners and `node:vm`.
  return typeof chunk === "string" || types.isUint8Array(chunk);
}

/** The whole body of a response that is sent with its end alone; undefined if its encoding is unknown. */
export function wholeOf(chunk: unknown, encoding: unknown): Buffer | undefined {
  return isChunk(chunk) ? bytesOf(chunk, encoding, "same") : Buffer.alloc(0);
}

/**
 * The bytes of a chunk: the same memory, or a copy for bytes that are kept, since the owner of a chunk may reuse it. Undefined
 * for a text in an unknown encoding.
 */
export function bytesOf(chunk: string | Uint8Array, encoding: unknown, how: "same" | "copy"): Buffer | undefined {
  if (typeof chunk !== "string")
    return how === "copy" ? Buffer.from(chunk) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (typeof encoding !== "string") return Buffer.from(chunk);
  return Buffer.isEncoding(encoding) ? Buffer.from(chunk, encoding) : undefined;
}
