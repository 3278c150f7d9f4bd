import type { Quota } from "../http/quota.js";
import { operations } from "../lib/documentation.js";
import type { RequestState } from "../request/state.js";
import type { Logger } from "../telemetry/logger.js";

/** Names of policies, and objects that stand for the Redis or the process with their counters. */
const countedAt = new WeakMap<object, { readonly name: string; readonly place: object }>();

/** Notes where the counters of policies are. Gates on one Redis and prefix share them. */
export function notePlace(policies: readonly { readonly name: string }[], place: object): void {
  for (const policy of policies) countedAt.set(policy, { name: policy.name, place });
}

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
  note(state: Pick<RequestState, "facts" | "done">, quotas: readonly Quota[]): void {
    const before = state.facts.quotas;
    for (const { policy } of quotas) {
      if (!before.some((one) => one.policy === policy) || this.#warned.has(policy) || !isCountedTwice(state, policy))
        continue;
      if (this.#warned.size >= maxNames) return;
      this.#warned.add(policy);
      this.#logger.warn(
        { code: "policy_name_repeated", policy },
        `portcullis: a request passed two limits named "${policy}", which share their counters and count it twice: give each a name of its own, or use the same middleware in both places (see ${operations}#policy_name_repeated)`,
      );
    }
  }
}

/** Do two limits of this name count the request in one place? Those of two gates may have counters of their own. */
function isCountedTwice({ done }: Pick<RequestState, "done">, name: string): boolean {
  const places = done.flatMap((part) => {
    const counted = part === undefined ? undefined : countedAt.get(part);
    return counted?.name === name ? [counted.place] : [];
  });
  return new Set(places).size < places.length;
}
