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

/**
 * Reads the body of a request, unless a parser has read it before: `parsed` is the value of the parser. (Some parsers leave an
 * empty object without reading, so the stream decides.) The rest of a body that is too large is read and dropped, so that the
 * client gets the answer.
 */
export async function readBody(message: IncomingMessage, parsed: unknown, maxBytes: number): Promise<Body> {
  if (message.readableDidRead) {
    if (parsed === undefined)
      throw new TypeError("portcullis: the body of this request was read before, and no parsed body was left");
    return { kind: "parsed", value: parsed };
  }
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
