import type { IncomingMessage, ServerResponse } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { bytesOf, isChunk, wholeOf } from "./chunks.js";
import type { Head, Interception, Interceptor } from "./interceptor.js";
import { isDead } from "./response-end.js";
import { applyHead, fieldsOf, isHead, setAll } from "./response-head.js";
import type { Reply } from "./verdict.js";
import { writeAnswer } from "./write-answer.js";
import { clearTimeout, queueMicrotask, setTimeout } from "../lib/real-timers.js";

type Done = (error?: Error | null) => void;
/** Time to wait for the end of a handler whose response is replaced: enough to read most files. */
const patienceMs = 100;

/** Fields that describe a body. A 304 does not have them (RFC 9110 15.4.5). */
export const bodyFields: readonly string[] = [
  ...["content-type", "content-length", "content-encoding", "content-language", "content-range", "transfer-encoding"],
  "trailer",
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
  const destroy = res.destroy.bind(res);
  const isHttp1 = req.httpVersionMajor === 1;
  const before = fieldsOf(res);
  let state: "waiting" | "following" | "passing" | "replaced" = "waiting";
  const chunks: Buffer[] = [];
  let size = 0;
  /** The body of a response that is being sent in one piece. */
  let whole: Uint8Array | undefined;
  /** Is a whole body being sent? The functions of the response may call each other then. */
  let isSendingWhole = false;
  let hasFailed = false;
  /** Has this process ended the response by itself, before it was complete? */
  let isDestroyed = false;
  /** Had the client gone before the response began? */
  let wasDead = false;
  let isHeadSent = false;
  let isHeadMade = false;
  /** Has the handler ended the response, whose last bytes wait? */
  let isEndHeld = false;
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
    // A function of the response that middleware in front has kept may have sent the head.
    if (res.headersSent) fail();
    // First, so that calls by the interceptor do not come back here.
    state = "passing";
    if (res.headersSent) return;
    wasDead = isDead(res);
    uncover();
    const body = req.method === "HEAD" ? (heldBody?.() ?? written) : written;
    const { statusCode: status } = res;
    const fields = fieldsOf(res);
    const set = (name: string, value: string): void => {
      if (!res.headersSent) res.setHeader(name, value);
    };
    const answer = interceptor.begin({ status, fields, before, body, afterError: hasFailed, set });
    if (answer === "follow") {
      state = "following";
      whole = body;
    } else if (answer === "notModified") {
      // Node frames no body by itself any more where a field of framing was removed, although it was not there.
      for (const name of bodyFields) if (res.hasHeader(name)) res.removeHeader(name);
      if (isEnd) replace({ status: 304, headers: [], body: "" });
      else replaceLater();
    } else if (answer !== "pass") {
      for (const name of res.getHeaderNames()) res.removeHeader(name);
      setAll(res, Object.entries(before));
      replace(answer);
    }
  }

  function replace(answer: Pick<Reply, "status" | "headers" | "body" | "form" | "removed">): void {
    if (isHttp1) res.statusMessage = "";
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
   * nowhere; or we do after a moment, since that body may be endless. In HTTP/1 the head is made at once, so that middleware
   * that cannot make it tells the handler; in HTTP/2 a head of this status ends the response.
   */
  function replaceLater(): void {
    state = "replaced";
    if (isHttp1) {
      res.statusMessage = "";
      res.statusCode = 304;
      try {
        res.writeHead(304);
      } catch (error) {
        fail();
        throw error;
      }
    }
    const fields = Object.entries(res.getHeaders());
    const stated = Object.getOwnPropertyDescriptor(res, "headersSent");
    // To its handler the head has been sent. What is set after that, as by the answer to an error, goes nowhere.
    if (!isHttp1) Object.defineProperty(res, "headersSent", { value: true, configurable: true });
    const timer = setTimeout(send, patienceMs);
    held = send;

    /** The handler may be elsewhere: nobody but the client can hear of an error. */
    function send(): void {
      held = undefined;
      clearTimeout(timer);
      if (isHttp1) return void end();
      if (stated === undefined) Reflect.deleteProperty(res, "headersSent");
      else Object.defineProperty(res, "headersSent", stated);
      for (const name of res.getHeaderNames()) res.removeHeader(name);
      setAll(res, fields);
      try {
        replace({ status: 304, headers: [], body: "" });
      } catch {
        sendFailure();
      }
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
    if (state !== "following" || !isChunk(chunk, isHttp1)) return;
    const bytes = bytesOf(chunk, encoding, "copy");
    size += bytes?.length ?? Infinity;
    if (size > interceptor.maxBytes) return giveUp();
    if (bytes !== undefined) chunks.push(bytes);
  }

  /** The body is complete, unless it was too large. */
  function finish(): void {
    if (state !== "following") return;
    state = "passing";
    const body = whole ?? Buffer.concat(chunks);
    interceptor.complete(body.byteLength > interceptor.maxBytes ? undefined : body);
  }

  /** Stops collecting the body. */
  function giveUp(): void {
    state = "passing";
    chunks.length = 0;
    interceptor.complete(undefined);
  }

  /** Sending has thrown. Bytes that are sent later belong to the answer to this error, not to the response. */
  function fail(): void {
    if (!hasFailed && !isHeadMade) interceptor.sendingFailed?.();
    hasFailed = true;
    if (state === "waiting") uncover();
    if (state === "following" || (state === "replaced" && !res.headersSent)) giveUp();
  }

  /** The body that ends with this chunk. Undefined if it is not followed, or too large. */
  function bodyAtEnd(chunk: unknown, encoding: unknown): Uint8Array | undefined {
    if (state !== "following") return undefined;
    const body = whole ?? Buffer.concat([...chunks, wholeOf(chunk, encoding, isHttp1) ?? Buffer.alloc(0)]);
    return body.byteLength > interceptor.maxBytes ? undefined : body;
  }

  /** Ends the response later. To its handler it has ended: a change of its head until then goes nowhere. */
  function holdEnd(until: Promise<unknown>, send: () => unknown): void {
    isEndHeld = true;
    const { headersSent: isHeadOut, statusCode } = res;
    const fields = fieldsOf(res);
    if (!isHeadOut) Object.defineProperty(res, "headersSent", { value: true, configurable: true });
    void until.then(release, release);

    function release(): void {
      isEndHeld = false;
      try {
        if (!isHeadOut) {
          Reflect.deleteProperty(res, "headersSent");
          res.statusCode = statusCode;
          // Node frames no body by itself any more where a field of framing was removed.
          if (!isDeepStrictEqual(fieldsOf(res), fields)) {
            for (const name of res.getHeaderNames()) res.removeHeader(name);
            setAll(res, Object.entries(fields));
          }
        }
        send();
      } catch {
        sendFailure();
      }
    }
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
    const isMeant = res.headersSent && !hasFailed && !isDestroyed && (wasDead || !isDead(res));
    interceptor.headMade?.(isMeant ? { status, fields: fieldsOf(res), reached } : undefined);
  }

  function isReplaced(): boolean {
    return state === "replaced";
  }

  /** Has Node throw, which changes nothing. */
  function refuse(status: number, rest: readonly unknown[]): ServerResponse {
    fail();
    writeHead(status, ...(rest as []));
    state = "passing";
    return res;
  }

  const interceptedWriteHead = function interceptedWriteHead(status: number, ...rest: unknown[]): ServerResponse {
    // Middleware behind has put itself in front of this function, and changes the head now.
    const isChanged = state !== "waiting" && res.writeHead !== interceptedWriteHead;
    let reached: Head["reached"];
    try {
      if (isEndHeld || (state === "replaced" && (res.headersSent || held !== undefined))) return res;
      if (!isHead(status, rest)) return refuse(status, rest);
      if (!res.headersSent) applyHead(res, status, rest);
      if (isChanged) reached = state === "replaced" ? "unknown" : fieldsOf(res);
      if (state === "waiting") {
        begin(undefined);
        if (isReplaced()) return res;
      }
      writeHead(res.statusCode);
    } catch (error) {
      fail();
      throw error;
    }
    noteHead(reached);
    // In HTTP/1 it goes out with the first byte of the body, or when it is flushed.
    if (!isHttp1) noteHeadSent();
    return res;
  };
  res.writeHead = interceptedWriteHead;

  res.flushHeaders = function interceptedFlushHeaders() {
    if (state === "waiting") begin(undefined);
    if (state === "replaced" || isEndHeld) return;
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
    if (state === "waiting" && isChunk(chunk, isHttp1)) begin(undefined);
    else if (state === "waiting") fail();
    // The `end` of HTTP/2 calls this. In HTTP/1 it is a hook of the head that writes, in front of the body.
    if (isSendingWhole) {
      if (isHttp1) fail();
      return write(chunk, encoding, done);
    }
    if (state === "replaced" || isEndHeld) {
      tell(encoding, done);
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

  /** Lets a handler go on that waits for bytes to be sent which go nowhere. */
  function tell(...given: readonly unknown[]): ServerResponse {
    const told = given.find((one) => typeof one === "function") as Done | undefined;
    if (told !== undefined) queueMicrotask(told);
    return res;
  }

  function sendEnd(chunk: unknown, encoding: unknown, done: unknown): ServerResponse {
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
  }

  res.end = function interceptedEnd(chunk?: unknown, encoding?: unknown, done?: unknown) {
    if (isEndHeld) return tell(chunk, encoding, done);
    // A hook of the head ends the response, whose own body is then too late.
    if (isSendingWhole) {
      fail();
      return end(chunk, encoding, done);
    }
    const isEmpty = chunk === undefined || chunk === null || typeof chunk === "function" || (isHttp1 && !chunk);
    const isRead = interceptor.readsUnsent === true && state === "waiting" && !(isEmpty && res.statusCode === 200);
    const isPart = state !== "passing" && (isDestroyed || (!isRead && isBrokenOff(res, isHttp1)));
    const isLast = isEmpty || isChunk(chunk, isHttp1);
    if (state === "waiting" && isLast) begin(isPart ? undefined : wholeOf(chunk, encoding, isHttp1), true);
    else if (state === "waiting") fail();
    held?.();
    if (isPart && state === "following") state = "passing";
    if (state === "replaced") return tell(chunk, encoding, done);
    const until = isPart || !isLast ? undefined : interceptor.ending?.(bodyAtEnd(chunk, encoding));
    if (until === undefined) return sendEnd(chunk, encoding, done);
    holdEnd(until, () => sendEnd(chunk, encoding, done));
    return res;
  };

  res.destroy = function interceptedDestroy(error?: Error) {
    if (!res.writableEnded) isDestroyed = true;
    return destroy(error);
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
 * says so, and the handler has not destroyed the connection by itself, just now.
 */
function isBrokenOff(res: ServerResponse, isHttp1: boolean): boolean {
  // Node destroys a response of HTTP/1 a moment after its socket.
  return isDead(res) && (!res.hasHeader("content-length") || (isHttp1 && !res.destroyed));
}
