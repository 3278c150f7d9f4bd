import { EventEmitter } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import { monotonicNow, queueMicrotask, setTimeout } from "../lib/real-timers.js";

/** A listener that gets the status of the response; 0 if the response broke off. */
type StatusListener = (status: number) => void;

/**
 * Maximum duration of a request without a socket, such as a request of a serverless adapter: no event says that its client has
 * gone. AWS Lambda stops a function after 15 minutes.
 */
const maxDurationMs = 15 * 60_000;
/**
 * Maximum time for which a complete response may wait behind another response on its connection. Otherwise a connection whose
 * first request is for a stream could hold any number of slots while no handler runs.
 */
const maxWaitMs = 10_000;
/** Interval at which responses are checked. Their events are lost if other code removes the listeners. */
const checkIntervalMs = 5000;

/**
 * Calls the listener once, when the response is over: at its `finish`, its `close`, or the `close` of its connection,
 * whichever comes first. The status is 0 if the response broke off. A listener that is added later is called soon.
 */
export function onResponseEnd(res: ServerResponse, listener: (status: number) => void): void {
  endOf(res).addListener(listener);
}

/** The signal that is aborted when the client goes away before its response is complete; one for each response. */
export function abortOnDisconnect(res: ServerResponse): AbortSignal {
  return endOf(res).signal;
}

/** The same for a request that another library answers, such as a WebSocket handshake. It is over when its connection is. */
export function onConnectionEnd(message: IncomingMessage, listener: (status: number) => void): void {
  endOfMessage(message).addListener(listener);
}

export function abortOnConnectionEnd(message: IncomingMessage): AbortSignal {
  return endOfMessage(message).signal;
}

/**
 * Is the connection of a response closed? Then the client does not get what a handler still writes. A dead response is over, but
 * a response may also be over because it is complete.
 */
export function isDead(res: ServerResponse): boolean {
  return hasGone(connectionOf(res));
}

/** Ends responses that are over without an event, that wait too long, or that have no socket. A timer calls it. */
export function endUnheard(now: number): void {
  for (const end of underWay) end.check(now);
}

/** The ends by response, and by request if another library answers it. */
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

/** The end of one response, and the listeners for it. */
class ResponseEnd {
  readonly #res: ServerResponse | undefined;
  /** The socket of HTTP/1, the stream of HTTP/2, or their replacement on a serverless platform. */
  readonly #connection: unknown;
  readonly #endsBy: number;
  #listeners: StatusListener[] = [];
  #status: number | undefined;
  /** The time since which the complete response has waited behind another one. */
  #waitsSince: number | undefined;
  #controller: AbortController | undefined;

  constructor(res: ServerResponse | undefined, connection: unknown) {
    this.#res = res;
    this.#connection = connection;
    const begun = monotonicNow();
    this.#endsBy = isLive(connection) ? Number.POSITIVE_INFINITY : begun + maxDurationMs;
    this.check(begun);
    if (this.#status !== undefined) return;
    if (res !== undefined && isEmitter(res)) res.once("finish", () => this.end(true)).once("close", () => this.end());
    if (isEmitter(connection)) addCloseListener(connection, this);
    underWay.add(this);
    timer ??= setTimeout(checkAgain, checkIntervalMs).unref();
  }

  get signal(): AbortSignal {
    if (this.#controller !== undefined) return this.#controller.signal;
    const controller = new AbortController();
    this.#controller = controller;
    const abortIfBroken = (status: number): void => {
      if (status === 0) controller.abort();
    };
    if (this.#status === undefined) this.#listeners.push(abortIfBroken);
    else abortIfBroken(this.#status);
    return controller.signal;
  }

  addListener(listener: StatusListener): void {
    const status = this.#status;
    if (status === undefined) this.#listeners.push(listener);
    else queueMicrotask(() => listener(status));
  }

  check(now: number): void {
    if (now >= this.#endsBy || isOver(this.#res, this.#connection)) return this.end();
    if (this.#res === undefined || !waitsForTurn(this.#res)) return;
    this.#waitsSince ??= now;
    if (now - this.#waitsSince >= maxWaitMs) this.end();
  }

  end(finished = false): void {
    if (this.#status !== undefined) return;
    const res = this.#res;
    const status = res !== undefined && isComplete(res, this.#connection, finished) ? res.statusCode : 0;
    this.#status = status;
    underWay.delete(this);
    if (isEmitter(this.#connection)) removeCloseListener(this.#connection, this);
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) call(listener, status);
  }
}

/** A listener that throws must not keep other listeners from releasing what they hold. */
function call(listener: StatusListener, status: number): void {
  try {
    listener(status);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function checkAgain(): void {
  timer = undefined;
  endUnheard(monotonicNow());
  if (underWay.size > 0) timer = setTimeout(checkAgain, checkIntervalMs).unref();
}

/** For each connection: its responses in progress, and one listener for all of them. */
const connections = new WeakMap<EventEmitter, { readonly ends: Set<ResponseEnd>; readonly listener: () => void }>();

/** A client may send any number of requests at once on one connection (RFC 9112 9.3.2), so they share a listener. */
function addCloseListener(connection: EventEmitter, end: ResponseEnd): void {
  const known = connections.get(connection);
  if (known !== undefined) return void known.ends.add(end);
  const responses = new Set([end]);
  const listener = (): void => {
    for (const one of responses) one.end();
  };
  connections.set(connection, { ends: responses, listener });
  connection.once("close", listener);
}

function removeCloseListener(connection: EventEmitter, end: ResponseEnd): void {
  const known = connections.get(connection);
  if (known === undefined) return;
  known.ends.delete(end);
  if (known.ends.size > 0) return;
  connections.delete(connection);
  connection.off("close", known.listener);
}

/** A response that waits behind another one has no socket yet, but its request has. */
function connectionOf(res: ServerResponse): unknown {
  return streamOf(res) ?? res.socket ?? (res as { req?: IncomingMessage }).req?.socket;
}

/** The stream of a request in HTTP/2; its `socket` is shared with other requests. */
function streamOf(message: object): ServerHttp2Stream | undefined {
  const { stream } = message as { stream?: unknown };
  return typeof stream === "object" && stream !== null && "rstCode" in stream
    ? (stream as ServerHttp2Stream)
    : undefined;
}

/** Does the connection emit an event when it is closed? The fake sockets of serverless adapters do not. */
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

/** In HTTP/1 a response gets its socket when the responses before it have been sent. */
function waitsForTurn(res: ServerResponse): boolean {
  return res.writableEnded && res.socket === null && streamOf(res) === undefined;
}

/** A stream of HTTP/2 that either side has reset or ended is closed before it is destroyed, and may emit no event for that. */
function hasGone(connection: unknown): boolean {
  if (isDestroyed(connection) === true) return true;
  if (typeof connection !== "object" || connection === null || !("rstCode" in connection)) return false;
  const { aborted, closed } = connection as { readonly aborted?: unknown; readonly closed?: unknown };
  return aborted === true || closed === true;
}

function isOver(res: ServerResponse | undefined, connection: unknown): boolean {
  if (hasGone(connection)) return true;
  if (res === undefined) return false;
  // Without a real connection, the end of writing is the end of the response.
  return res.closed || res.destroyed || (res.writableEnded && !isLive(connection));
}

/**
 * Was the whole response handed to the connection? Events do not tell: HTTP/2 emits `finish` also if the client has reset its
 * stream, and HTTP/1 also if the last write failed.
 */
function isComplete(res: ServerResponse, connection: unknown, finished: boolean): boolean {
  const stream = streamOf(res);
  if (stream !== undefined) return stream.writableFinished && !stream.aborted;
  if (!isLive(connection)) return finished || res.writableEnded;
  if (finished) return isDestroyed(connection) !== true;
  // A response that was sent has left its socket. A response that broke off keeps its socket, or never had one.
  return res.closed && res.writableFinished && res.socket?.destroyed !== true;
}
