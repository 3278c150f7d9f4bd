import { types } from "node:util";

/** Bytes or a text, as `write` and `end` of a response take them. */
export type Chunk = string | NodeJS.ArrayBufferView;

/** May it be written? Node takes every view of a buffer in HTTP/2 only. */
export function isChunk(chunk: unknown, isHttp1: boolean): chunk is Chunk {
  // Also bytes of another realm, as test runners and `node:vm` have them.
  return typeof chunk === "string" || (isHttp1 ? types.isUint8Array(chunk) : ArrayBuffer.isView(chunk));
}

/** The whole body that the end of a response gives; undefined if that cannot be told. */
export function wholeOf(chunk: unknown, encoding: unknown, isHttp1: boolean): Buffer | undefined {
  return isChunk(chunk, isHttp1) ? bytesOf(chunk, encoding, "same") : Buffer.alloc(0);
}

/**
 * The bytes of a chunk: the same memory, or a copy for bytes that are kept, since the owner of a chunk may reuse it. Undefined
 * for a text in an unknown encoding.
 */
export function bytesOf(chunk: Chunk, encoding: unknown, how: "same" | "copy"): Buffer | undefined {
  if (typeof chunk !== "string") {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    return how === "copy" ? Buffer.from(bytes) : bytes;
  }
  if (typeof encoding !== "string") return Buffer.from(chunk);
  return Buffer.isEncoding(encoding) ? Buffer.from(chunk, encoding) : undefined;
}
