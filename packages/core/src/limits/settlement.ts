import type { Exchange } from "../http/exchange.js";
import { onRequestDone } from "../http/handler-end.js";
import type { Consumption, UsageCorrections } from "../store/ports/decisions.js";
import type { Logger } from "../telemetry/logger.js";
import { checkCount, settlesLater } from "./policy.js";
import type { AppliedPolicy } from "./policy.js";

/** A charge that a store has counted. */
export interface Counted<Raw> {
  readonly applied: AppliedPolicy<Raw>;
  readonly receipt: number;
  readonly store: UsageCorrections;
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

/** A slot of `concurrency` that a request in flight holds, or has asked for. */
interface Held {
  readonly charge: Consumption;
  readonly store: UsageCorrections;
  /** How long its handler may work on for a client who has gone. */
  readonly patienceMs: number;
  /** Infinity for one that is not renewed. */
  renewAt: number;
}

/**
 * What happens to charges when their request is done: slots are released, what does not count is given back, what cost
 * more is charged. A slot of a request that takes longer than its slot lasts is renewed until the response is over. Slots
 * that are held when the process ends are left with a life no longer than their handlers are waited for.
 */
export class Settlement<Raw> {
  readonly #logger: Logger;
  readonly #now: () => number;
  /** By its charge, of which each request has its own. */
  readonly #held = new Map<Consumption, Held>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor({ logger, now = () => performance.now() }: SettlementOptions) {
    this.#logger = logger;
    this.#now = now;
  }

  /** A slot is asked for: from now on it may be taken, until {@link answered}. */
  expect({ policy, charge }: AppliedPolicy<Raw>, store: UsageCorrections): void {
    if (this.#closed) return;
    this.#held.set(charge, {
      charge,
      store,
      patienceMs: patienceOf(policy, charge),
      renewAt: Number.POSITIVE_INFINITY,
    });
  }

  /** It was not taken, or is followed from now on. */
  answered(charge: Consumption): void {
    if (!this.#held.delete(charge) || this.#held.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Sees to these charges until their request is done. */
  follow(exchange: Exchange<Raw>, charged: readonly Counted<Raw>[]): void {
    const followed = charged.filter(({ applied }) => settlesLater(applied.policy));
    if (followed.length === 0) return;
    const held = followed.filter(({ applied }) => applied.charge.slot !== undefined);
    if (held.length > 0 && !this.#closed) this.#hold(exchange, held);
    for (const one of followed) {
      const { policy, charge } = one.applied;
      onRequestDone(exchange, patienceOf(policy, charge), (status) => this.#settle(one, exchange, status));
    }
  }

  /**
   * Nobody renews the slots that are held, and nobody may be there to give them back. Called when no question goes out any
   * more, so that this comes behind those that are under way.
   */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const { charge, store, patienceMs } of this.#held.values()) store.expire(charge, patienceMs);
    this.#held.clear();
  }

  /** Renews what is due; called by a timer. */
  renew(): void {
    const now = this.#now();
    for (const held of this.#held.values()) {
      if (held.renewAt > now) continue;
      held.renewAt = now + held.charge.windowSeconds * 1000 * renewAfter;
      held.store.renew([held.charge]);
    }
  }

  /** A handler that works on for a client who has gone keeps its slots, but no longer than they last. */
  #hold(exchange: Exchange<Raw>, counted: readonly Counted<Raw>[]): void {
    const now = this.#now();
    const slots = counted.map(({ applied: { policy, charge }, store }): Held => {
      const renewAt = now + charge.windowSeconds * 1000 * renewAfter;
      return { charge, store, patienceMs: patienceOf(policy, charge), renewAt };
    });
    for (const held of slots) this.#held.set(held.charge, held);
    this.#timer ??= setInterval(() => this.renew(), tickMs).unref();
    exchange.onClose(() => {
      for (const held of slots) held.renewAt = Number.POSITIVE_INFINITY;
    });
  }

  #settle(
    { applied: { policy, charge }, receipt, store }: Counted<Raw>,
    exchange: Exchange<Raw>,
    status: number,
  ): void {
    const adjust = (real: number): void => {
      if (real !== charge.cost) store.adjust([{ charge, receipt, by: real - charge.cost }]);
    };
    if (charge.slot !== undefined) this.answered(charge);
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

function patienceOf<Raw>({ releaseAfterMs }: AppliedPolicy<Raw>["policy"], { windowSeconds }: Consumption): number {
  return Math.min(releaseAfterMs, windowSeconds * 1000);
}

/** A response that was cut off may have done its work: it counts. */
function isForgiven(countOnly: "failures" | "successes" | undefined, status: number): boolean {
  if (countOnly === undefined || status === 0) return false;
  return countOnly === "failures" ? status < 400 : status >= 400;
}
