import type { Exchange } from "../http/exchange.js";
import { onRequestDone } from "../http/handler-end.js";
import type { Charge, QuotaStore } from "../store/ports.js";
import type { Logger } from "../telemetry/logger.js";
import { checkCount } from "./bounds.js";
import type { AppliedPolicy } from "./policy.js";
import { settlesLater } from "./policy.js";

/** A charge that a store has counted. */
export interface Counted<Raw> {
  readonly applied: AppliedPolicy<Raw>;
  readonly receipt: number;
  readonly store: QuotaStore;
}

export interface SettlementOptions {
  readonly logger: Logger;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
}

/** Slots are renewed when this part of their time is over. */
const renewAfter = 1 / 3;
/** The shortest slot lasts a second, and one that has expired is not held again. */
const tickMs = 250;

/** A slot of `concurrency` that a request in flight holds. */
interface Held {
  readonly charge: Charge;
  readonly store: QuotaStore;
  renewAt: number;
}

/**
 * What happens to charges when their request is done: slots are released, what does not count is given back, what cost
 * more is charged. A slot of a request that takes longer than its slot lasts is renewed until the response is over.
 */
export class Settlement<Raw> {
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #held = new Set<Held>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ logger, now = () => performance.now() }: SettlementOptions) {
    this.#logger = logger;
    this.#now = now;
  }

  /** Sees to these charges until their request is done. */
  follow(exchange: Exchange<Raw>, charged: readonly Counted<Raw>[]): void {
    const followed = charged.filter(({ applied }) => settlesLater(applied.policy));
    if (followed.length === 0) return;
    const held = followed.filter(({ applied }) => applied.charge.slot !== undefined).map((one) => this.#hold(one));
    if (held.length > 0)
      exchange.onClose(() => {
        for (const slot of held) this.#letExpire(slot);
      });
    for (const one of followed) {
      const { policy, charge } = one.applied;
      const patienceMs = Math.min(policy.releaseAfterMs, charge.windowSeconds * 1000);
      onRequestDone(exchange, patienceMs, (status) => this.#settle(one, exchange, status));
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#held.clear();
  }

  /** Renews what is due; called by a timer. */
  renew(): void {
    const now = this.#now();
    for (const held of this.#held) {
      if (held.renewAt > now) continue;
      held.renewAt = now + held.charge.windowSeconds * 1000 * renewAfter;
      held.store.renew([held.charge]);
    }
  }

  #hold({ applied: { charge }, store }: Counted<Raw>): Held {
    const held = { charge, store, renewAt: this.#now() + charge.windowSeconds * 1000 * renewAfter };
    this.#held.add(held);
    this.#timer ??= setInterval(() => this.renew(), tickMs).unref();
    return held;
  }

  /** A handler that works on for a client who has gone keeps its slot, but no longer than the slot lasts. */
  #letExpire(held: Held): void {
    this.#held.delete(held);
    if (this.#held.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #settle(
    { applied: { policy, charge }, receipt, store }: Counted<Raw>,
    exchange: Exchange<Raw>,
    status: number,
  ): void {
    const adjust = (real: number): void => {
      if (real !== charge.cost) store.adjust([{ charge, receipt, by: real - charge.cost }]);
    };
    if (policy.algorithm === "concurrency" || isForgiven(policy.countOnly, status)) return adjust(0);
    if (policy.settle === undefined) return;
    Promise.resolve()
      .then(() => policy.settle?.(exchange.raw, exchange.facts, status))
      .then((real) => adjust(real === undefined ? charge.cost : checkCount(policy.name, "settle", real)))
      .catch(() => {
        this.#logger.warn({ policy: policy.name }, `portcullis: limit "${policy.name}" could not be settled`);
      });
  }
}

/** A response that was cut off may have done its work: it counts. */
function isForgiven(countOnly: "failures" | "successes" | undefined, status: number): boolean {
  if (countOnly === undefined || status === 0) return false;
  return countOnly === "failures" ? status < 400 : status >= 400;
}
