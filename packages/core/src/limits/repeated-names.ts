import type { Quota } from "../http/quota.js";
import { operations } from "../lib/documentation.js";
import type { Logger } from "../telemetry/logger.js";

/** So many names are remembered as said. */
const maxNames = 100;

/** Says once for each name that a request passed two limits of this name, which count it twice. */
export class RepeatedNameWarning {
  readonly #logger: Logger;
  readonly #warned = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Compares the quotas of the limits of one middleware with those before it on the same request. */
  note(before: readonly Quota[], quotas: readonly Quota[]): void {
    for (const { policy } of quotas) {
      if (!before.some((one) => one.policy === policy) || this.#warned.has(policy)) continue;
      if (this.#warned.size >= maxNames) return;
      this.#warned.add(policy);
      this.#logger.warn(
        { code: "policy_name_repeated", policy },
        `portcullis: a request passed two limits named "${policy}", which share their counters and count it twice: give each a name of its own, or use the same middleware in both places (see ${operations}#policy_name_repeated)`,
      );
    }
  }
}
