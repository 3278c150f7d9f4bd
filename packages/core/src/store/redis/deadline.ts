import { StoreFault } from "../ports/decisions.js";
import type { Connection } from "./connect.js";
import { faultOfError } from "./faults.js";
import type { UnreadablePart } from "./unreadable.js";

/**
 * A single call with a deadline, for what is not batched. Rejects with a StoreFault; what arrives later is dropped.
 * Before the first connection it waits for that, up to the deadline, or until the connection is closed.
 */
export async function callWithin<T>(
  deadlineMs: number,
  connection: Connection,
  call: () => Promise<T>,
  part: UnreadablePart = "other",
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const stops: (() => void)[] = [];
    const timer = setTimeout(() => setImmediate(() => giveUp("timeout")), deadlineMs);

    function stopWaiting(): void {
      for (const stop of stops) stop();
    }

    function giveUp(kind: "timeout" | "unreachable"): void {
      stopWaiting();
      clearTimeout(timer);
      reject(new StoreFault(kind));
    }

    function start(): void {
      stopWaiting();
      call()
        .then(resolve, (error: unknown) => {
          connection.unreadable?.(part, error);
          reject(faultOfError(error));
        })
        .finally(() => clearTimeout(timer));
    }

    if (connection.hasConnected()) {
      start();
      return;
    }
    stops.push(connection.onConnect(start));
    // Otherwise the timer would keep a process that has closed its gate from ending.
    const stop = connection.onClose?.(() => giveUp("unreachable"));
    if (stop !== undefined) stops.push(stop);
  });
}
