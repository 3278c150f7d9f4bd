import type { Exchange } from "../http/exchange.js";
import { DenialError } from "../http/verdict.js";
import { operations } from "../lib/documentation.js";
import type { ThrownDenials } from "../request/state.js";
import type { Logger } from "../telemetry/logger.js";

/** Says once that a refusal which was thrown did not stop its request: an error handler has dropped it, and a route ran. */
export class DroppedDenialWarning implements ThrownDenials {
  readonly #logger: Logger;
  #warned = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  watch(exchange: Exchange, thrown: unknown, routeOf: () => unknown): void {
    if (this.#warned || !(thrown instanceof DenialError)) return;
    const refusedAt = routeOf();
    exchange.onClose((status) => {
      const route = routeOf();
      // A route that answers with an error is the page of the refusal, or says that there is nothing.
      if (this.#warned || route === undefined || route === refusedAt || status >= 400) return;
      this.#warned = true;
      this.#logger.warn(
        { code: "denial_dropped" },
        `portcullis: a request was refused, and a route handled it all the same, since an error handler dropped the DenialError: answer with its status there, or pass it on by next(error) (see ${operations}#denial_dropped)`,
      );
    });
  }
}
