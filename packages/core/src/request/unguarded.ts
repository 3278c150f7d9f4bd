import { operations } from "../lib/documentation.js";
import type { Logger } from "../telemetry/logger.js";
import type { GateExchange, RequestState } from "./state.js";

/**
 * Says once for each middleware that it needs a user and that no guard of its gate ran before it: it then refuses every request,
 * or never counts one.
 */
export class UnguardedWarning<Raw = unknown> {
  readonly #logger: Logger;
  readonly #carriesToken: ((exchange: GateExchange<Raw>) => boolean) | undefined;
  readonly #warned = new Set<string>();

  /** @param carriesToken does this request have credentials that a guard would read? Undefined for a gate without `auth`. */
  constructor(logger: Logger, carriesToken: ((exchange: GateExchange<Raw>) => boolean) | undefined) {
    this.#logger = logger;
    this.#carriesToken = carriesToken;
  }

  /** Notes that this middleware, which needs a user, has found none. */
  noteRefusal(middleware: string, state: RequestState): void {
    if (!state.isIdentified) this.#warn(middleware, "it refuses every request", state);
  }

  /**
   * Notes that a limit per user or claim has found no user. That is meant where a condition skipped the guard; and a request
   * without a token has no user behind a guard either: it may be for a public route.
   */
  noteUncounted(policy: string, exchange: GateExchange<Raw>): void {
    const { state, trustsEveryProxy } = exchange;
    // Only a request of a framework passes middleware.
    if (state.isIdentified || state.isGuardSkipped || trustsEveryProxy === undefined) return;
    const middleware = `limit "${policy}"`;
    if (this.#maySay(middleware) && this.#carriesToken?.(exchange) !== false)
      this.#warn(middleware, "it counts no request", state);
  }

  #maySay(middleware: string): boolean {
    return !this.#warned.has(middleware) && this.#warned.size < 100;
  }

  #warn(middleware: string, effect: string, { identified }: RequestState): void {
    if (!this.#maySay(middleware)) return;
    this.#warned.add(middleware);
    const other = identified ? "; the user of another gate does not count" : "";
    const [fact, advice] =
      this.#carriesToken === undefined
        ? ["this gate has no option auth, so that its guard() finds none", "set auth"]
        : ["no guard() or authenticate() of this gate ran before it", "mount the guard first"];
    this.#logger.warn(
      { code: "guard_missing", middleware },
      `portcullis: ${middleware} needs a user, and ${fact}, so ${effect}${other}: ${advice} (see ${operations}#guard_missing)`,
    );
  }
}
