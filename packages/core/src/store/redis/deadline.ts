import { StoreFault } from "../ports.js";
import type { Connection } from "./connect.js";
import { faultOfError } from "./faults.js";
import type { UnreadablePart } from "./unreadable.js";

/**
 * A single call with a deadline, for what is not batched. Rejects with a StoreFault; what arrives later is dropped.
 * Before the first connection it waits for that, up to the deadline.
 */
export async function callWithin<T>(
  deadlineMs: number,
  connection: Connection,
  call: () => Promise<T>,
  part: UnreadablePart = "other",
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let stopWaiting: (() => void) | undefined;
    const timer = setTimeout(
      () =>
        setImmediate(() => {
          stopWaiting?.();
          reject(new StoreFault("timeout"));
        }),
      deadlineMs,
    );

    function start(): void {
      stopWaiting?.();
      call()
        .then(resolve, (error: unknown) => {
          connection.unreadable?.(part, error);
          reject(faultOfError(error));
        })
        .finally(() => clearTimeout(timer));
    }

    if (connection.hasConnected()) start();
    else stopWaiting = connection.onConnect(start);
  });
}
