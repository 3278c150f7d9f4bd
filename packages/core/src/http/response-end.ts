import type { ServerResponse } from "node:http";

/** Calls the listener once, when the response is complete or its client has gone: with its status, 0 if none was sent. */
export function onResponseEnd(res: ServerResponse, listener: (status: number) => void): void {
  const tell = (): void => listener(res.headersSent ? res.statusCode : 0);
  if (res.closed) queueMicrotask(tell);
  else res.once("close", tell);
}

/** Aborted when the client goes away before its response is complete. */
export function abortOnDisconnect(res: ServerResponse): AbortSignal {
  const controller = new AbortController();
  const settle = (): void => {
    if (!res.writableFinished) controller.abort();
  };
  if (res.closed) settle();
  else res.once("close", settle);
  return controller.signal;
}
