import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import type { Exchange } from "./exchange.js";
import { onResponseEnd } from "./response-end.js";
import { clearTimeout, queueMicrotask, setTimeout } from "../lib/real-timers.js";

/**
 * The end of a handler. The work for a client goes on after the client has gone, so code that limits or counts work must wait
 * for the handler too.
 */

/** Maximum time to wait for a handler after its response is over. A limit may set another with `releaseAfter`. */
export const handlerWaitMs = 10_000;

/**
 * Calls the listener once, when the request is done: its response is over and its handler has ended, or `waitMs` have
 * passed since the response was over. The status is 0 if the response broke off.
 */
export function onRequestDone(
  exchange: Pick<Exchange, "onClose" | "onHandled">,
  waitMs: number,
  listener: (status: number) => void,
): void {
  let handled = false;
  let finish: (() => void) | undefined;
  exchange.onHandled(() => {
    handled = true;
    finish?.();
  });
  exchange.onClose((status) => {
    if (handled) return listener(status);
    const timer = setTimeout(conclude, waitMs).unref();

    function conclude(): void {
      finish = undefined;
      clearTimeout(timer);
      listener(status);
    }

    finish = conclude;
  });
}

/** The listeners for the end of the handler of a response; undefined when it has ended. */
const waiting = new WeakMap<ServerResponse, { listeners: (() => void)[] | undefined }>();

/**
 * Calls the listener once, when the handler has ended or destroyed its response (with or without a client), or when a response
 * that it had begun is over. For frameworks that do not wait for their handlers, such as Express. The first call changes the
 * response, so call this only if something waits for the handler.
 */
export function onHandlerEnd(res: ServerResponse, listener: () => void): void {
  let state = waiting.get(res);
  if (state === undefined) {
    state = { listeners: res.writableEnded ? undefined : [] };
    waiting.set(res, state);
    if (state.listeners !== undefined) watch(res, state);
  }
  if (state.listeners === undefined) queueMicrotask(listener);
  else state.listeners.push(listener);
}

function watch(res: ServerResponse, state: { listeners: (() => void)[] | undefined }): void {
  const end = res.end.bind(res) as (...given: unknown[]) => ServerResponse;
  // The response of a WebSocket handshake, as engine.io makes it, has no events and no `destroy`.
  const isForeign = !(res instanceof EventEmitter);

  function notify(): void {
    const listeners = state.listeners ?? [];
    state.listeners = undefined;
    for (const listener of listeners) listener();
  }

  res.end = function noticedEnd(...given: unknown[]) {
    const ended = end(...given);
    notify();
    return ended;
  };
  if (!isForeign) {
    const destroy = res.destroy.bind(res);
    res.destroy = function noticedDestroy(error?: Error) {
      const destroyed = destroy(error);
      notify();
      return destroyed;
    };
  }
  // A piped stream does not end a response without a client, and nobody ends an accepted handshake.
  onResponseEnd(res, () => {
    if (isForeign || res.headersSent || res.writableEnded) notify();
  });
}

/** The running middleware of one gate on one request, in a framework whose middleware waits for the handler, such as Koa. */
export interface Handling {
  /** The number of middleware that are running. */
  running: number;
  /** The listeners for the end of the last one. */
  awaiting: (() => void)[] | undefined;
}

/** Records that a middleware begins. Call it before its check, since the client may leave during the check. */
export function beginHandling(handling: Handling): void {
  handling.running += 1;
}

/** Records that a middleware ends: with its refusal, or when everything behind it has ended. */
export function endHandling(handling: Handling): void {
  handling.running -= 1;
  const { running, awaiting } = handling;
  if (running > 0 || awaiting === undefined) return;
  handling.awaiting = undefined;
  for (const listener of awaiting) listener();
}

/** Calls the listener once, when no middleware is running. */
export function onHandlingEnd(handling: Handling, listener: () => void): void {
  if (handling.running === 0) queueMicrotask(listener);
  else (handling.awaiting ??= []).push(listener);
}
