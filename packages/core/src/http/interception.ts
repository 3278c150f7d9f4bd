import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { bytesOf, isChunk, wholeOf } from "./chunks.js";
import { isDead } from "./response-end.js";
import { applyHead, fieldsOf, isStatus, setAll } from "./response-head.js";
import type { BodyForm, Reply } from "./verdict.js";
import { writeAnswer } from "./write-answer.js";

/** A response that is about to be sent. */
export interface Outgoing {
  readonly status: number;
  /** Its fields, by their lower-case names. */
  readonly fields: OutgoingHttpHeaders;
  /** Those that stood there before the handler. */
  readonly before: OutgoingHttpHeaders;
  /** The whole body, if it is known before the first byte is sent. */
  readonly body: Uint8Array | undefined;
  /**
   * Has sending something thrown before? Then this may be the answer to that error, with fields and a status that belong to
   * what was not sent.
   */
  readonly afterError: boolean;
  readonly set: (name: string, value: string) => void;
}

/** A response whose handlers have returned, while middleware in front of the interceptor may still change it. */
export interface Returned extends Outgoing {
  /** Undefined for a body that cannot be given again. */
  readonly form: BodyForm | undefined;
}

/** The head of a response when it has been made: middleware may change it until then, also after a handler has ended. */
export interface Head {
  readonly status: number;
  /** As they are sent, by their lower-case names. */
  readonly fields: OutgoingHttpHeaders;
  /**
   * The fields as they reached the interceptor, where middleware behind it has waited for the head to change them, as
   * sessions do to set a cookie; `"unknown"` if something else is sent instead. Undefined where none has waited.
   */
  readonly reached: OutgoingHttpHeaders | "unknown" | undefined;
}

/** Sees a response on its way out, and may answer in its place. */
export interface Interceptor {
  /** Request fields that the handler must not see, because what they ask for is done here. */
  readonly hidden: readonly string[];
  /** A body of more bytes is not kept. */
  readonly mostBytes: number;
  /**
   * Must `begin` be called for a response that is never sent, too? Some frameworks, Koa 2 for one, send nothing where the
   * client has gone, although their handlers have done their work. @default false
   */
  readonly beginsUnsent?: boolean | undefined;
  /**
   * Called once, before the first byte. A reply goes out instead of the response; `"notModified"` makes it a 304;
   * `"follow"` asks for the body, `"pass"` for nothing more.
   */
  begin(outgoing: Outgoing): Reply | "notModified" | "follow" | "pass";
  /**
   * Called before `begin` where the framework holds the response until its middleware has returned, as Koa does. A reply
   * takes the place of the response; `"follow"` asks for the body. Not called for a response that a handler sends itself.
   */
  returned?(response: Returned): Reply | "follow" | "pass";
  /** Called instead of `returned` where a handler has thrown, with the status of its error. A reply hides the error. */
  failed?(status: number): Reply | undefined;
  /**
   * Called once, after `begin`: when the head has been made, or with nothing when the response is over without one, since its
   * client has gone. Before or after `complete`.
   */
  headMade?(head: Head | undefined): void;
  /** Called once, when the head of a response is sent and its body is not at its end, unless the response was replaced. */
  headSent(): void;
  /**
   * The whole body; undefined if it was too large, as soon as it is, or if sending has failed. Not called for a response that
   * breaks off, also where its handler ends it because of that.
   */
  complete(body: Uint8Array | undefined): void;
}

/** One interceptor on its response. */
export interface Interception {
  readonly interceptor: Interceptor;
  /** The fields of the response before the handler. */
  readonly before: OutgoingHttpHeaders;
  /** Has nothing been sent, or begun to be? */
  readonly isWaiting: boolean;
  /** Has a handler tried to send something, and failed? */
  readonly hasFailed: boolean;
  /** Gives the hidden fields back to the request, for middleware in front of the interceptor. */
  uncover(): void;
  /** Calls `begin` for a response that is never sent. */
  beginUnsent(): void;
  /** Calls `headMade` with nothing for a response that is never sent. */
  endUnsent(): void;
}

type Done = (error?: Error | null) => void;

/** A file has been read after this time, or is so long that its end is not waited for. */
const patienceMs = 100;

/** Fields about a body, which a 304 does not have (RFC 9110 15.4.5). */
export const bodyFields: readonly string[] = [
  ...["content-type", "content-length", "content-encoding", "content-language", "content-range", "transfer-encoding"],
];

/** Of a response that has begun already. */
function noInterception(interceptor: Interceptor): Interception {
  const nothing = (): void => undefined;
  const state = { isWaiting: false, hasFailed: false };
  return { interceptor, before: {}, ...state, uncover: nothing, beginUnsent: nothing, endUnsent: nothing };
}

/**
 * Puts an interceptor between a handler and its response. Bytes go out when the handler writes them: nothing is held back.
 * Whoever wraps the response later, as compression does, is seen with what it makes of it. `heldBody` is the body that a
 * framework holds and does not write, because the method is HEAD.
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
  /** The body of a response that is sent in one piece, while it is. */
  let whole: Uint8Array | undefined;
  /** Is a body sent at once, by functions that may call each other? */
  let isSendingWhole = false;
  let hasFailed = false;
  let isHeadSent = false;
  let isHeadMade = false;
  /** Sends what takes the place of a response whose handler has not ended it yet. */
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
    // First, so that whatever the interceptor does to the response does not come back here.
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
   * Frameworks take it for an abort if a response ends while they still send a file. So its handler ends it, whose body goes
   * nowhere; or we do after a moment, since that body may be endless.
   */
  function replaceLater(): void {
    state = "replaced";
    const fields = Object.entries(res.getHeaders());
    const stated = Object.getOwnPropertyDescriptor(res, "headersSent");
    // To its handler the head has been sent. What is set after that, as by the answer to an error, goes nowhere.
    Object.defineProperty(res, "headersSent", { value: true, configurable: true });
    const timer = setTimeout(sendLate, patienceMs);
    held = send;

    /** Its handler is elsewhere: nobody but the client can hear of an error. */
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

  /** The last byte is there, unless there were too many before. */
  function finish(): void {
    if (state !== "following") return;
    state = "passing";
    const body = whole ?? Buffer.concat(chunks);
    interceptor.complete(body.byteLength > interceptor.mostBytes ? undefined : body);
  }

  /** The body will not be known. */
  function giveUp(): void {
    state = "passing";
    chunks.length = 0;
    interceptor.complete(undefined);
  }

  /**
   * Sending has thrown: what is sent after that is no part of the response that was meant or announced, but the answer to the
   * error.
   */
  function fail(): void {
    hasFailed = true;
    if (state === "following" || (state === "replaced" && !res.headersSent)) giveUp();
  }

  function noteHeadSent(): void {
    if (state === "waiting" || state === "replaced" || whole !== undefined || isHeadSent) return;
    isHeadSent = true;
    interceptor.headSent();
  }

  /** HTTP/2 makes a head by itself where there is no body. Node makes none for a client that has gone. */
  function noteHead(reached?: Head["reached"]): void {
    if (isHeadMade) return;
    isHeadMade = true;
    const { statusCode: status } = res;
    interceptor.headMade?.(res.headersSent ? { status, fields: fieldsOf(res), reached } : undefined);
  }

  const interceptedWriteHead = function interceptedWriteHead(status: number, ...rest: unknown[]): ServerResponse {
    // Middleware behind has put itself in front of this function, and has just changed the head.
    const isChanged = state !== "waiting" && res.writeHead !== interceptedWriteHead;
    const reached = !isChanged ? undefined : state === "replaced" ? "unknown" : fieldsOf(res);
    try {
      if (state === "waiting") {
        // Node throws, and changes nothing.
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
    // In HTTP/1 it goes out with the first byte of the body, or when it is flushed.
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
    // Of what is no chunk nothing is sent: Node throws, and another response may follow.
    if (state === "waiting" && isChunk(chunk)) begin(undefined);
    // The `end` of HTTP/2 calls this.
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
 * A handler may end its response because its client has gone. What it has written by then is the whole only where the length
 * says so.
 */
function isBrokenOff(res: ServerResponse): boolean {
  return isDead(res) && !res.hasHeader("content-length");
}
