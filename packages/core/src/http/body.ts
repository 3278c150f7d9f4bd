import type { IncomingMessage } from "node:http";
import type { Http2Stream } from "node:http2";

/** The body of a request: parsed by an earlier middleware, as bytes, or the reason why there is none. */
export type Body =
  | { readonly kind: "parsed"; readonly value: unknown }
  | { readonly kind: "bytes"; readonly bytes: Buffer }
  | { readonly kind: "too_large" }
  /** The client went away before the end of the body. */
  | { readonly kind: "incomplete" };

/** Does a body follow the head of a request? In HTTP/1 two fields say so; in HTTP/2 the head itself, with no field. */
export function announcesBody(message: IncomingMessage): boolean {
  const { headers, stream } = message as IncomingMessage & { readonly stream?: Partial<Http2Stream> | undefined };
  if (headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) !== 0) return true;
  return stream?.endAfterHeaders === false;
}

/** The bodies that were read and put back. */
const peeked = new WeakMap<IncomingMessage, Buffer>();

/** The body that was read before. */
function bodyBefore(message: IncomingMessage, parsed: unknown): Body | undefined {
  const bytes = peeked.get(message);
  if (bytes !== undefined) return { kind: "bytes", bytes };
  if (!message.readableDidRead) return undefined;
  if (parsed !== undefined) return { kind: "parsed", value: parsed };
  throw new TypeError(
    "portcullis: the body of this request was read before, and no parsed body was left: mount the middleware in front of " +
      "what reads the body, or behind a parser that leaves it on the request",
  );
}

/**
 * Reads the body of a request and puts it back, so that a parser behind the gate reads it again. That is possible until its
 * stream emits `end`, so the bytes are taken as they come, without asking for more at the end.
 */
export async function peekBody(message: IncomingMessage, parsed: unknown, maxBytes: number): Promise<Body> {
  const known = bodyBefore(message, parsed);
  if (known !== undefined) return known;
  if (!announcesBody(message)) return { kind: "bytes", bytes: Buffer.alloc(0) };
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;

    function finish(body: Body): void {
      message.off("readable", take).off("end", complete).off("close", giveUp).off("error", giveUp);
      resolve(body);
    }

    function take(): void {
      while (message.readableLength > 0) {
        // The exact length: to ask for more than there is makes a complete stream emit `end`.
        const chunk = message.read(message.readableLength) as Buffer | string | null;
        if (chunk === null) break;
        const bytes = typeof chunk === "string" ? Buffer.from(chunk, message.readableEncoding ?? "utf8") : chunk;
        size += bytes.length;
        if (size > maxBytes) {
          finish({ kind: "too_large" });
          return void message.resume();
        }
        chunks.push(bytes);
      }
      if (hasEnded(message)) complete();
    }

    function complete(): void {
      const bytes = Buffer.concat(chunks);
      if (bytes.length > 0) message.unshift(bytes);
      peeked.set(message, bytes);
      finish({ kind: "bytes", bytes });
    }

    const giveUp = (): void => finish({ kind: "incomplete" });
    if (message.destroyed) return giveUp();
    if (hasEnded(message)) return take();
    message.on("readable", take).on("end", complete).on("close", giveUp).on("error", giveUp);
  });
}

/** Have all bytes of a stream arrived, read or not? Node shows it in its state only. */
function hasEnded(message: IncomingMessage): boolean {
  const { _readableState: state } = message as { readonly _readableState?: { readonly ended?: boolean } };
  return state?.ended === true;
}

/**
 * Reads the body of a request, unless a parser has read it before: `parsed` is the value of the parser. (Some parsers leave an
 * empty object without reading, so the stream decides.) The rest of a body that is too large is read and dropped, so that the
 * client gets the answer.
 */
export async function readBody(message: IncomingMessage, parsed: unknown, maxBytes: number): Promise<Body> {
  const known = bodyBefore(message, parsed);
  if (known !== undefined) return known;
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;

    function finish(body: Body): void {
      message.off("data", collect).off("end", complete).off("close", giveUp).off("error", giveUp);
      resolve(body);
    }

    function collect(chunk: Buffer): void {
      size += chunk.length;
      if (size <= maxBytes) return void chunks.push(chunk);
      finish({ kind: "too_large" });
      message.resume();
    }

    const complete = (): void => finish({ kind: "bytes", bytes: Buffer.concat(chunks) });
    const giveUp = (): void => finish({ kind: "incomplete" });
    message.on("data", collect).on("end", complete).on("close", giveUp).on("error", giveUp);
    if (message.destroyed) giveUp();
  });
}
