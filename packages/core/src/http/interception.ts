import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { bytesOf, isChunk, wholeOf } from "./chunks.js";
import { isDead } from "./response-end.js";
import { applyHead, fieldsOf, isStatus, setAll } from "./response-head.js";
import type { BodyForm, Reply } from "./verdict.js";
import { writeAnswer } from "./write-answer.js";

/** A response that is about to be sent. */
export interface Outgoing {
  readonly status: number;
  /** The header fields by lower-case name. */
  readonly fields: OutgoingHttpHeaders;
  /** The fields that were set before the handler ran. */
  readonly before: OutgoingHttpHeaders;
  /** The whole body if it is known before the first byte is sent. */
  readonly body: Uint8Array | undefined;
  /**
   * Has an earlier attempt to send thrown? Then this may be the answer to that error, with fields and a status of the response
   * that was not sent.
   */
  readonly afterError: boolean;
  readonly set: (name: string, value: string) => void;
}

/** A response whose handlers have returned, while middleware in front of the interceptor may still change it. */
export interface Returned extends Outgoing {
  /** Undefined for a body that cannot be stored and sent again. */
  readonly form: BodyForm | undefined;
}

/** The final head of a response. Middleware may change a head until it is sent, also after the handler has ended. */
export interface Head {
  readonly status: number;
  /** The fields that are sent, by lower-case name. */
  readonly fields: OutgoingHttpHeaders;
  /**
   * The fields as they reached the interceptor, if middleware behind it changes the head at the last moment, as session
   * middleware does to set a cookie; `"unknown"` if another response is sent instead. Undefined without such middleware.
   */
  readonly reached: OutgoingHttpHeaders | "unknown" | undefined;
}

/** Gets a response before it is sent, and may replace it. */
export interface Interceptor {
  /** Request fields that are hidden from the handler, because the interceptor handles them. */
  readonly hidden: readonly string[];
  /** A body of more bytes is not kept. */
  readonly mostBytes: number;
  /**
   * Must `begin` also be called for a response that is never sent? Some frameworks, such as Koa 2, send nothing if the client
   * has gone, although the handler has done its work. @default false
   */
  readonly beginsUnsent?: boolean | undefined;
  /**
   * Called once, before the first byte. A reply is sent instead of the response; `"notModified"` makes the response a 304;
   * `"follow"` asks for the body; `"pass"` asks for nothing more.
   */
  begin(outgoing: Outgoing): Reply | "notModified" | "follow" | "pass";
  /**
   * Called before `begin` if the framework holds the response until its middleware has returned, as Koa does. A reply replaces
   * the response; `"follow"` asks for the body. Not called for a response that a handler sends itself.
   */
  returned?(response: Returned): Reply | "follow" | "pass";
  /** Called instead of `returned` if a handler has thrown, with the status of its error. A reply hides the error. */
  failed?(status: number): Reply | undefined;
  /**
   * Called once, after `begin`: with the final head, or with undefined if the response is over without a head because its client
   * has gone. It may come before or after `complete`.
   */
  headMade?(head: Head | undefined): void;
  /** Called once, when the head is sent before the body is complete, unless the response was replaced. */
  headSent(): void;
  /**
   * Called with the whole body; or with undefined as soon as the body is too large or sending has failed. Not called for a
   * response that breaks off, also if its handler ends it for that reason.
   */
  complete(body: Uint8Array | undefined): void;
}

/** An interceptor on one response. */
export interface Interception {
  readonly interceptor: Interceptor;
  /** The fields of the response before the handler. */
  readonly before: OutgoingHttpHeaders;
  /** Has nothing been sent yet? */
  readonly isWaiting: boolean;
  /** Has an attempt to send thrown? */
  readonly hasFailed: boolean;
  /** Restores the hidden fields of the request, for middleware in front of the interceptor. */
  uncover(): void;
  /** Calls `begin` for a response that is never sent. */
  beginUnsent(): void;
  /** Calls `headMade` with undefined for a response that is never sent. */
  endUnsent(): void;
}

type Done = (error?: Error | null) => void;

/** Time to wait for the end of a handler whose response is replaced: enough to read most files. */
const patienceMs = 100;

/** Fields that describe a body. A 304 does not have them (RFC 9110 15.4.5). */
export const bodyFields: readonly string[] = [
  ...["content-type", "content-length", "content-encoding", "content-language", "content-range", "transfer-encoding"],
];

/** The interception of a response that has already begun. */
function noInterception(interceptor: Interceptor): Interception {
  const nothing = (): void => undefined;
  const state = { isWaiting: false, hasFailed: false };
  return { interceptor, before: {}, ...state, uncover: nothing, beginUnsent: nothing, endUnsent: nothing };
}

/**
 * Puts an interceptor between a handler and its response. Bytes are sent when the handler writes them: nothing is held back.
 * Middleware that wraps the response later, such as compression, runs first, so the interceptor gets its output. `heldBody`
 * returns the body that a framework holds and does not write because the method is HEAD.
 */
export function interceptResponse(
  req: IncomingMessage,
  res: ServerResponse,
  interceptor: Interceptor,
  heldBody?: () => Uint8Array | undefined,
): Interception {
  if (res.headersSent) return noInterception(interceptor);
  const writeHead = res.writeHead.bind(res);
  const write = res.write.bind(res) as (chunk: unknown, encoding: unknown, done: unknown) => boolean;
  const end = res.end.bind(res) as (chunk?: unknown, encoding?: unknown, done?: unknown) => ServerResponse;
  const flushHeaders = res.flushHeaders.bind(res);
  const before = fieldsOf(res);
  let state: "waiting" | "following" | "passing" | "replaced" = "waiting";
  const chunks: Buffer[] = [];
  let size = 0;
  /** The body of a response that is being sent in one piece. */
  let whole: Uint8Array | undefined;
  /** Is a whole body being sent? The functions of the response may call each other then. */
  let isSendingWhole = false;
  let hasFailed = false;
  let isHeadSent = false;
  let isHeadMade = false;
  /** Sends the replacement of a response that its handler has not ended yet. */
  let held: (() => void) | undefined;
  const covered: Record<string, unknown> = {};
  for (const name of interceptor.hidden) {
    if (req.headers[name] !== undefined) covered[name] = req.headers[name];
    Reflect.deleteProperty(req.headers, name);
  }

  function uncover(): void {
    Object.assign(req.headers, covered);
  }

  function begin(written: Uint8Array | undefined, isEnd = false): void {
    // First, so that calls by the interceptor do not come back here.
    state = "passing";
    uncover();
    const body = req.method === "HEAD" ? (heldBody?.() ?? written) : written;
    const { statusCode: status } = res;
    const fields = fieldsOf(res);
    const set = (name: string, value: string): void => void res.setHeader(name, value);
    const answer = interceptor.begin({ status, fields, before, body, afterError: hasFailed, set });
    if (answer === "follow") {
      state = "following";
      whole = body;
    } else if (answer === "notModified") {
      for (const name of bodyFields) res.removeHeader(name);
      if (isEnd) replace({ status: 304, headers: [], body: "" });
      else replaceLater();
    } else if (answer !== "pass") {
      for (const name of res.getHeaderNames()) res.removeHeader(name);
      setAll(res, Object.entries(before));
      replace(answer);
    }
  }

  function replace(answer: Pick<Reply, "status" | "headers" | "body" | "form" | "removed">): void {
    if (req.httpVersionMajor === 1) res.statusMessage = "";
    state = "replaced";
    isSendingWhole = true;
    try {
      writeAnswer(res, answer, { write, end });
    } catch (error) {
      fail();
      throw error;
    } finally {
      isSendingWhole = false;
    }
    noteHead();
  }

  /**
   * A framework takes it for an abort if a response ends while it still sends a file. So the replacement is sent when the handler
   * ends the response, whose body is dropped; or after a short time, since that body may be endless.
   */
  function replaceLater(): void {
    state = "replaced";
    const fields = Object.entries(res.getHeaders());
    const stated = Object.getOwnPropertyDescriptor(res, "headersSent");
    // For its handler the head has been sent. Fields that are set later, as for the answer to an error, are dropped.
    Object.defineProperty(res, "headersSent", { value: true, configurable: true });
    const timer = setTimeout(sendLate, patienceMs);
    held = send;

    /** The handler has returned, so an error can be told to the client only. */
    function sendLate(): void {
      try {
        send();
      } catch {
        sendFailure();
      }
    }

    function send(): void {
      held = undefined;
      clearTimeout(timer);
      if (stated === undefined) Reflect.deleteProperty(res, "headersSent");
      else Object.defineProperty(res, "headersSent", stated);
      for (const name of res.getHeaderNames()) res.removeHeader(name);
      setAll(res, fields);
      replace({ status: 304, headers: [], body: "" });
    }
  }

  function sendFailure(): void {
    try {
      for (const name of res.getHeaderNames()) res.removeHeader(name);
      replace({ status: 500, headers: [], body: "" });
    } catch {
      res.destroy();
    }
  }

  function follow(chunk: unknown, encoding: unknown): void {
    if (state !== "following" || !isChunk(chunk)) return;
    const bytes = bytesOf(chunk, encoding, "copy");
    size += bytes?.length ?? Infinity;
    if (size > interceptor.mostBytes) return giveUp();
    if (bytes !== undefined) chunks.push(bytes);
  }

  /** The body is complete, unless it was too large. */
  function finish(): void {
    if (state !== "following") return;
    state = "passing";
    const body = whole ?? Buffer.concat(chunks);
    interceptor.complete(body.byteLength > interceptor.mostBytes ? undefined : body);
  }

  /** Stops collecting the body. */
  function giveUp(): void {
    state = "passing";
    chunks.length = 0;
    interceptor.complete(undefined);
  }

  /** Sending has thrown. Bytes that are sent later belong to the answer to this error, not to the response. */
  function fail(): void {
    hasFailed = true;
    if (state === "following" || (state === "replaced" && !res.headersSent)) giveUp();
  }

  function noteHeadSent(): void {
    if (state === "waiting" || state === "replaced" || whole !== undefined || isHeadSent) return;
    isHeadSent = true;
    interceptor.headSent();
  }

  /** HTTP/2 makes a head by itself if there is no body. Node makes no head for a client that has gone. */
  function noteHead(reached?: Head["reached"]): void {
    if (isHeadMade) return;
    isHeadMade = true;
    const { statusCode: status } = res;
    interceptor.headMade?.(res.headersSent ? { status, fields: fieldsOf(res), reached } : undefined);
  }

  const interceptedWriteHead = function interceptedWriteHead(status: number, ...rest: unknown[]): ServerResponse {
    // Middleware behind the interceptor has wrapped this function, and has just changed the head.
    const isChanged = state !== "waiting" && res.writeHead !== interceptedWriteHead;
    const reached = !isChanged ? undefined : state === "replaced" ? "unknown" : fieldsOf(res);
    try {
      if (state === "waiting") {
        // Node throws and changes nothing.
        if (!isStatus(status)) return writeHead(status);
        applyHead(res, status, rest);
        begin(undefined);
      }
      if (state === "replaced" && (res.headersSent || held !== undefined)) return res;
      writeHead(res.statusCode);
    } catch (error) {
      fail();
      throw error;
    }
    noteHead(reached);
    // In HTTP/1 the head is sent with the first byte of the body, or when it is flushed.
    if (req.httpVersionMajor > 1) noteHeadSent();
    return res;
  };
  res.writeHead = interceptedWriteHead;

  res.flushHeaders = function interceptedFlushHeaders() {
    if (state === "waiting") begin(undefined);
    if (state === "replaced") return;
    try {
      flushHeaders();
    } catch (error) {
      fail();
      throw error;
    }
    noteHead();
    noteHeadSent();
  };

  res.write = function interceptedWrite(chunk: unknown, encoding?: unknown, done?: Done) {
    // For a value that is not a chunk, Node throws and sends nothing. Another response may follow.
    if (state === "waiting" && isChunk(chunk)) begin(undefined);
    // `end` of HTTP/2 calls this function.
    if (isSendingWhole) return write(chunk, encoding, done);
    if (state === "replaced") {
      const told = typeof encoding === "function" ? (encoding as Done) : done;
      if (told !== undefined) queueMicrotask(told);
      return true;
    }
    let isFlowing: boolean;
    try {
      isFlowing = write(chunk, encoding, done);
    } catch (error) {
      fail();
      throw error;
    }
    follow(chunk, encoding);
    noteHeadSent();
    return isFlowing;
  };

  res.end = function interceptedEnd(chunk?: unknown, encoding?: unknown, done?: unknown) {
    const isPart = state !== "passing" && isBrokenOff(res);
    const isLast = isChunk(chunk) || chunk === undefined || chunk === null || typeof chunk === "function";
    if (state === "waiting" && isLast) begin(isPart ? undefined : wholeOf(chunk, encoding), true);
    held?.();
    if (isPart && state === "following") state = "passing";
    if (state === "replaced") {
      const told = [chunk, encoding, done].find((one) => typeof one === "function") as Done | undefined;
      if (told !== undefined) queueMicrotask(told);
      return res;
    }
    let ended: ServerResponse;
    isSendingWhole = true;
    try {
      ended = end(chunk, encoding, done);
    } catch (error) {
      fail();
      throw error;
    } finally {
      isSendingWhole = false;
    }
    if (whole === undefined) follow(chunk, encoding);
    finish();
    noteHead();
    return ended;
  };

  return {
    interceptor,
    before,
    get isWaiting() {
      return state === "waiting";
    },
    get hasFailed() {
      return hasFailed;
    },
    uncover,
    beginUnsent(): void {
      if (state === "waiting") begin(undefined);
    },
    endUnsent: noteHead,
  };
}

/**
 * Has the response of a client that has gone broken off? A handler may end it for that reason, so the body is complete only if
 * `Content-Length` says so.
 */
function isBrokenOff(res: ServerResponse): boolean {
  return isDead(res) && !res.hasHeader("content-length");
}
