import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";

/** A body that core writes over time, such as a stream of events. */
export interface StreamBody {
  /**
   * Begins to write the body. It is called at most once, when the body is to be sent: not for HEAD, and not where middleware in
   * front sends another body instead.
   */
  open(sink: BodySink): void;
}

/** The receiver of a stream body: the response of one client. */
export interface BodySink {
  /** Bytes that wait in this process until the client reads. */
  readonly waitingBytes: number;
  /** Writes even if bytes wait: the caller looks at `waitingBytes`. */
  write(chunk: string | Uint8Array): void;
  end(): void;
  /** Closes the connection, or the stream of HTTP/2, without the bytes that wait. */
  breakOff(): void;
}

/** The target of the bytes: the response, or its original functions behind an interceptor. */
export interface Writer {
  write(chunk: unknown, encoding?: unknown, done?: unknown): boolean;
  end(chunk?: unknown, encoding?: unknown, done?: unknown): unknown;
}

export function isStreamBody(body: string | Uint8Array | StreamBody): body is StreamBody {
  return typeof body === "object" && "open" in body;
}

/** Opens a body on a response of node:http. */
export function openOn(res: ServerResponse, writer: Writer, body: StreamBody): void {
  body.open(new ResponseSink(res, writer));
}

class ResponseSink implements BodySink {
  readonly #res: ServerResponse;
  readonly #writer: Writer;

  constructor(res: ServerResponse, writer: Writer) {
    this.#res = res;
    this.#writer = writer;
  }

  get waitingBytes(): number {
    return this.#res.writableLength;
  }

  write(chunk: string | Uint8Array): void {
    // Node reports a write after the end as an error event.
    if (!this.#res.writableEnded && !this.#res.destroyed) this.#writer.write(chunk);
  }

  end(): void {
    this.#writer.end();
  }

  breakOff(): void {
    this.#res.destroy();
  }
}

/**
 * A body as a stream, for a framework that pipes it to the response when all middleware has returned, as Koa does. The body is
 * opened when the framework begins to read.
 */
export function readableOf(body: StreamBody, res: ServerResponse): Readable {
  let isOpened = false;
  return new Readable({
    // Chunks go to the response as soon as it takes them.
    highWaterMark: 0,
    read(): void {
      if (isOpened) return;
      isOpened = true;
      body.open(new ReadableSink(this, res));
    },
  });
}

class ReadableSink implements BodySink {
  readonly #readable: Readable;
  readonly #res: ServerResponse;
  #hasEnded = false;

  constructor(readable: Readable, res: ServerResponse) {
    this.#readable = readable;
    this.#res = res;
  }

  get waitingBytes(): number {
    return this.#readable.readableLength + this.#res.writableLength;
  }

  write(chunk: string | Uint8Array): void {
    if (!this.#hasEnded && !this.#readable.destroyed) this.#readable.push(chunk);
  }

  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (!this.#readable.destroyed) this.#readable.push(null);
  }

  breakOff(): void {
    this.#res.destroy();
  }
}
