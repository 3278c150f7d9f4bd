import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import type { Exchange } from "./exchange.js";
import { onResponseEnd } from "./response-end.js";

/**
 * When a handler has ended. A client that leaves does not end the work for it: whatever bounds work, or counts it, must wait
 * for the handler too.
 */

/** How long a handler may work on for a client who has gone, unless a limit's `releaseAfter` says otherwise. */
export const handlerPatienceMs = 10_000;

/**
 * Calls the listener once, when the request is done: its response is over and its handler has ended, at the latest
 * `patienceMs` after the response was over. The status is 0 where the response broke off.
 */
export function onRequestDone(
  exchange: Pick<Exchange, "onClose" | "onHandled">,
  patienceMs: number,
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
    const timer = setTimeout(settle, patienceMs).unref();

    function settle(): void {
      finish = undefined;
      clearTimeout(timer);
      listener(status);
    }

    finish = settle;
  });
}

/** Who waits for the handler behind a response, by that response; undefined when it has ended. */
const waiting = new WeakMap<ServerResponse, { listeners: (() => void)[] | undefined }>();

/**
 * Calls the listener once, when the handler has ended or destroyed its response, dead or alive, or when a response that it
 * had begun is over. For frameworks that do not wait for their handlers, such as Express. The response is changed by the
 * first call, so call it only where something waits for the handler.
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
  // That of a WebSocket handshake, as engine.io makes it, has no more than it needs to refuse: no events, and no `destroy`.
  const isForeign = !(res instanceof EventEmitter);

  function tell(): void {
    const listeners = state.listeners ?? [];
    state.listeners = undefined;
    for (const listener of listeners) listener();
  }

  res.end = function noticedEnd(...given: unknown[]) {
    const ended = end(...given);
    tell();
    return ended;
  };
  if (!isForeign) {
    const destroy = res.destroy.bind(res);
    res.destroy = function noticedDestroy(error?: Error) {
      const destroyed = destroy(error);
      tell();
      return destroyed;
    };
  }
  // A stream that was piped to a response does not end a dead one; nor does anybody end a handshake that was accepted.
  onResponseEnd(res, () => {
    if (isForeign || res.headersSent || res.writableEnded) tell();
  });
}

/** The middleware of one gate on one request, in a framework that waits for what stands behind a middleware, such as Koa. */
export interface Handling {
  /** How many of them are running. */
  running: number;
  /** Who waits for the last of them. */
  awaiting: (() => void)[] | undefined;
}

/** A middleware begins: before its check, since the client may leave during that. */
export function beginHandling(handling: Handling): void {
  handling.running += 1;
}

/** A middleware ends: with its refusal, or when all that stands behind it has ended. */
export function endHandling(handling: Handling): void {
  handling.running -= 1;
  const { running, awaiting } = handling;
  if (running > 0 || awaiting === undefined) return;
  handling.awaiting = undefined;
  for (const listener of awaiting) listener();
}

/** Calls the listener once, when no middleware is running any more. */
export function onHandlingEnd(handling: Handling, listener: () => void): void {
  if (handling.running === 0) queueMicrotask(listener);
  else (handling.awaiting ??= []).push(listener);
}
