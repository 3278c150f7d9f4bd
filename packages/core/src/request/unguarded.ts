import { operations } from "../lib/documentation.js";
import type { Logger } from "../telemetry/logger.js";
import type { GateExchange, RequestState } from "./state.js";

/**
 * Says once for each middleware that it needs a user and that no guard of its gate ran before it: it then refuses every request,
 * or never counts one.
 */
export class UnguardedWarning {
  readonly #logger: Logger;
  readonly #warned = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Notes that this middleware, which needs a user, has found none. */
  noteRefusal(middleware: string, state: RequestState): void {
    if (!state.isIdentified) this.#warn(middleware, "it refuses every request", state);
  }

  /** Notes that a limit per user or claim has found no user. Where a condition skipped the guard, that is meant. */
  noteUncounted(policy: string, { state, trustsEveryProxy }: GateExchange): void {
    // Only a request of a framework passes middleware.
    if (state.isIdentified || state.isGuardSkipped || trustsEveryProxy === undefined) return;
    this.#warn(`limit "${policy}"`, "it counts no request", state);
  }

  #warn(middleware: string, effect: string, { identified }: RequestState): void {
    if (this.#warned.has(middleware) || this.#warned.size >= 100) return;
    this.#warned.add(middleware);
    const other = identified ? "; the user of another gate does not count" : "";
    this.#logger.warn(
      { code: "guard_missing", middleware },
      `portcullis: ${middleware} needs a user, and no guard() or authenticate() of this gate ran before it, so ${effect}${other}: mount the guard first (see ${operations}#guard_missing)`,
    );
  }
}
