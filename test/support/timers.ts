import { createHook } from "node:async_hooks";
import { cleanUp } from "./clean-up.js";

/** A timer as Node keeps it: core takes its timers at import, so that replacing the globals shows none. */
export interface NodeTimer {
  readonly _idleTimeout: number;
  readonly _onTimeout: () => void;
  /** Was it cleared, or has it passed? */
  readonly _destroyed: boolean;
}

/** The timers that are made until the test ends. */
export function watchTimers(): readonly NodeTimer[] {
  const timers: NodeTimer[] = [];
  const hook = createHook({
    init(_id, type, _trigger, resource) {
      if (type === "Timeout") timers.push(resource as NodeTimer);
    },
  }).enable();
  cleanUp(() => hook.disable());
  return timers;
}
