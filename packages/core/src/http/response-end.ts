import { EventEmitter } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";

/** Told with the status of the response; 0 if the response broke off. */
type StatusListener = (status: number) => void;

/**
 * Longest life of a request without a socket, such as one that a serverless adapter makes: nobody says that its client has
 * gone. AWS Lambda stops a function after 15 minutes.
 */
const longestMs = 15 * 60_000;
/**
 * How long a complete response may wait behind another one of its connection. Otherwise one connection that asks for a stream
 * first could hold any number of slots, with no handler running.
 */
const longestWaitMs = 10_000;
/** How often responses are looked at whose events were lost, because somebody removed the listeners. */
const lookEveryMs = 5000;

/**
 * Calls the listener once, when the response is over: at its `finish`, its `close`, or the `close` of its connection,
 * whichever comes first. The status is 0 where the response broke off. A listener that comes later is called soon.
 */
export function onResponseEnd(res: ServerResponse, listener: (status: number) => void): void {
  endOf(res).tell(listener);
}

/** Aborted when the client goes away before its response is complete. There is one signal for each response. */
export function abortOnDisconnect(res: ServerResponse): AbortSignal {
  return endOf(res).signal;
}

/** The same for a request whose response is made elsewhere, such as a WebSocket handshake: over when its connection is. */
export function onConnectionEnd(message: IncomingMessage, listener: (status: number) => void): void {
  endOfMessage(message).tell(listener);
}

export function abortOnConnectionEnd(message: IncomingMessage): AbortSignal {
  return endOfMessage(message).signal;
}

/**
 * Has its connection gone? Then nobody gets what a handler still writes. A response that is dead is over; one that is over may
 * as well be complete, on a connection that lives on.
 */
export function isDead(res: ServerResponse): boolean {
  return hasGone(connectionOf(res));
}

/** Ends what is over although no event said so, and what waits too long or is without a socket. Called by a timer. */
export function endUnheard(now: number): void {
  for (const end of underWay) end.look(now);
}

/** Responses by themselves, and requests whose response is made elsewhere. */
const ends = new WeakMap<object, ResponseEnd>();
const underWay = new Set<ResponseEnd>();
let timer: NodeJS.Timeout | undefined;

function endOf(res: ServerResponse): ResponseEnd {
  return ends.get(res) ?? remember(res, new ResponseEnd(res, connectionOf(res)));
}

function endOfMessage(message: IncomingMessage): ResponseEnd {
  return ends.get(message) ?? remember(message, new ResponseEnd(undefined, streamOf(message) ?? message.socket));
}

function remember(subject: object, end: ResponseEnd): ResponseEnd {
  ends.set(subject, end);
  return end;
}

/** When one response is over, and who wants to know. */
class ResponseEnd {
  readonly #res: ServerResponse | undefined;
  /** The socket of HTTP/1, the stream of HTTP/2, or what stands in their place. */
  readonly #connection: unknown;
  readonly #endsBy: number;
  #listeners: StatusListener[] = [];
  #status: number | undefined;
  /** Since when it has been complete, and waiting behind another. */
  #waitsSince: number | undefined;
  #controller: AbortController | undefined;

  constructor(res: ServerResponse | undefined, connection: unknown) {
    this.#res = res;
    this.#connection = connection;
    const begun = performance.now();
    this.#endsBy = isLive(connection) ? Number.POSITIVE_INFINITY : begun + longestMs;
    this.look(begun);
    if (this.#status !== undefined) return;
    if (res !== undefined && isEmitter(res)) res.once("finish", () => this.end(true)).once("close", () => this.end());
    if (isEmitter(connection)) hearClose(connection, this);
    underWay.add(this);
    timer ??= setTimeout(lookAgain, lookEveryMs).unref();
  }

  get signal(): AbortSignal {
    if (this.#controller !== undefined) return this.#controller.signal;
    const controller = new AbortController();
    this.#controller = controller;
    const settle = (status: number): void => {
      if (status === 0) controller.abort();
    };
    if (this.#status === undefined) this.#listeners.push(settle);
    else settle(this.#status);
    return controller.signal;
  }

  tell(listener: StatusListener): void {
    const status = this.#status;
    if (status === undefined) this.#listeners.push(listener);
    else queueMicrotask(() => listener(status));
  }

  look(now: number): void {
    if (now >= this.#endsBy || isOver(this.#res, this.#connection)) return this.end();
    if (this.#res === undefined || !waitsForTurn(this.#res)) return;
    this.#waitsSince ??= now;
    if (now - this.#waitsSince >= longestWaitMs) this.end();
  }

  end(finished = false): void {
    if (this.#status !== undefined) return;
    const res = this.#res;
    const status = res !== undefined && isComplete(res, this.#connection, finished) ? res.statusCode : 0;
    this.#status = status;
    underWay.delete(this);
    if (isEmitter(this.#connection)) ignoreClose(this.#connection, this);
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) call(listener, status);
  }
}

/** One listener that throws must not keep the others from giving back what they hold. */
function call(listener: StatusListener, status: number): void {
  try {
    listener(status);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function lookAgain(): void {
  timer = undefined;
  endUnheard(performance.now());
  if (underWay.size > 0) timer = setTimeout(lookAgain, lookEveryMs).unref();
}

/** Of each connection: its responses that are under way, and the one listener for all of them. */
const heard = new WeakMap<EventEmitter, { readonly ends: Set<ResponseEnd>; readonly listener: () => void }>();

/** A client may send any number of requests at once on one connection (RFC 9112 9.3.2); they share a listener. */
function hearClose(connection: EventEmitter, end: ResponseEnd): void {
  const known = heard.get(connection);
  if (known !== undefined) return void known.ends.add(end);
  const responses = new Set([end]);
  const listener = (): void => {
    for (const one of responses) one.end();
  };
  heard.set(connection, { ends: responses, listener });
  connection.once("close", listener);
}

function ignoreClose(connection: EventEmitter, end: ResponseEnd): void {
  const known = heard.get(connection);
  if (known === undefined) return;
  known.ends.delete(end);
  if (known.ends.size > 0) return;
  heard.delete(connection);
  connection.off("close", known.listener);
}

/** A response that waits behind another on its connection has no socket yet, but its request has. */
function connectionOf(res: ServerResponse): unknown {
  return streamOf(res) ?? res.socket ?? (res as { req?: IncomingMessage }).req?.socket;
}

/** Of HTTP/2: each request has a stream of its own, whose `socket` is the one of many. */
function streamOf(message: object): ServerHttp2Stream | undefined {
  const { stream } = message as { stream?: unknown };
  return typeof stream === "object" && stream !== null && "rstCode" in stream
    ? (stream as ServerHttp2Stream)
    : undefined;
}

/** Does it say when it is closed? What stands in for a socket in serverless adapters does not. */
function isLive(connection: unknown): boolean {
  return isEmitter(connection) && isDestroyed(connection) !== undefined;
}

function isEmitter(connection: unknown): connection is EventEmitter {
  return connection instanceof EventEmitter;
}

function isDestroyed(connection: unknown): boolean | undefined {
  if (typeof connection !== "object" || connection === null) return undefined;
  const { destroyed } = connection as { destroyed?: unknown };
  return typeof destroyed === "boolean" ? destroyed : undefined;
}

/** Of HTTP/1: a response has its socket only when those before it have been sent. */
function waitsForTurn(res: ServerResponse): boolean {
  return res.writableEnded && res.socket === null && streamOf(res) === undefined;
}

/** A stream of HTTP/2 that either side has reset or ended is closed before it is destroyed, which may never be heard of. */
function hasGone(connection: unknown): boolean {
  if (isDestroyed(connection) === true) return true;
  if (typeof connection !== "object" || connection === null || !("rstCode" in connection)) return false;
  const { aborted, closed } = connection as { readonly aborted?: unknown; readonly closed?: unknown };
  return aborted === true || closed === true;
}

function isOver(res: ServerResponse | undefined, connection: unknown): boolean {
  if (hasGone(connection)) return true;
  if (res === undefined) return false;
  // Without a client who reads, there is nothing between the end of writing and the end of the response.
  return res.closed || res.destroyed || (res.writableEnded && !isLive(connection));
}

/**
 * Was the whole response handed to the connection? Events do not say that: HTTP/2 emits `finish` where the client has reset
 * its stream, and HTTP/1 where the last write failed.
 */
function isComplete(res: ServerResponse, connection: unknown, finished: boolean): boolean {
  const stream = streamOf(res);
  if (stream !== undefined) return stream.writableFinished && !stream.aborted;
  if (!isLive(connection)) return finished || res.writableEnded;
  if (finished) return isDestroyed(connection) !== true;
  // A response that was sent has left its socket; one that broke off keeps it, or never had one.
  return res.closed && res.writableFinished && res.socket?.destroyed !== true;
}
