import type { GateExchange } from "../request/state.js";
import { onRequestDone } from "../http/handler-end.js";
import type { Consumption, UsageCorrections } from "../store/ports/decisions.js";
import type { Logger } from "../telemetry/logger.js";
import { checkCount, needsCorrection } from "./policy.js";
import type { AppliedPolicy } from "./policy.js";
import { clearInterval, monotonicNow, setInterval } from "../lib/real-timers.js";

/** A consumption that a store has counted. */
export interface CountedConsumption<Raw> {
  readonly applied: AppliedPolicy<Raw>;
  readonly receipt: number;
  readonly store: UsageCorrections;
}

export interface SettlementOptions {
  readonly logger: Logger;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
}

/** Slots are renewed after this share of their time. */
const renewalShare = 1 / 3;
/** Interval of renewals. The shortest slot lasts a second, and an expired slot is not taken again. */
const tickMs = 250;

/** A slot of `concurrency` that a request in flight holds or has asked for. */
interface Held {
  readonly consumption: Consumption;
  readonly store: UsageCorrections;
  /** Longest wait for the handler after the end of the response. */
  readonly handlerWaitMs: number;
  /** Infinity: never. */
  renewAt: number;
}

/**
 * Corrects consumptions when their request is done: releases slots, gives back requests that `countOnly` does not count, and
 * adjusts costs by `settle`. Slots of long requests are renewed until their response is over. When the process ends, slots in
 * use get a life no longer than the wait for their handlers.
 */
export class Settlement<Raw> {
  readonly #logger: Logger;
  readonly #now: () => number;
  /** By consumption: each request has its own. */
  readonly #held = new Map<Consumption, Held>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor({ logger, now = monotonicNow }: SettlementOptions) {
    this.#logger = logger;
    this.#now = now;
  }

  /** Notes that a slot is asked for. It may be taken from now on, until {@link answered}. */
  expect({ policy, consumption }: AppliedPolicy<Raw>, store: UsageCorrections): void {
    if (this.#closed) return;
    this.#held.set(consumption, {
      consumption,
      store,
      handlerWaitMs: handlerWaitOf(policy, consumption),
      renewAt: Number.POSITIVE_INFINITY,
    });
  }

  /** Notes that a slot was not taken, or that {@link follow} watches it. */
  answered(consumption: Consumption): void {
    if (!this.#held.delete(consumption) || this.#held.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Corrects these consumptions when their request is done. */
  follow(exchange: GateExchange<Raw>, charged: readonly CountedConsumption<Raw>[]): void {
    const followed = charged.filter(({ applied }) => needsCorrection(applied.policy));
    if (followed.length === 0) return;
    const held = followed.filter(({ applied }) => applied.consumption.slot !== undefined);
    if (held.length > 0 && !this.#closed) this.#hold(exchange, held);
    for (const one of followed) {
      const { policy, consumption } = one.applied;
      onRequestDone(exchange, handlerWaitOf(policy, consumption), (status) => this.#correct(one, exchange, status));
    }
  }

  /**
   * Shortens the life of slots in use, since this process will not renew them and may not release them. To be called when no
   * more questions are sent, so that this command follows the last of them.
   */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const { consumption, store, handlerWaitMs } of this.#held.values()) store.expire(consumption, handlerWaitMs);
    this.#held.clear();
  }

  /** Renews the slots that are due. */
  renew(): void {
    const now = this.#now();
    for (const held of this.#held.values()) {
      if (held.renewAt > now) continue;
      held.renewAt = now + held.consumption.windowSeconds * 1000 * renewalShare;
      held.store.renew([held.consumption]);
    }
  }

  /** Holds the slots of a request. After the response its handler keeps them, but they are no longer renewed. */
  #hold(exchange: GateExchange<Raw>, counted: readonly CountedConsumption<Raw>[]): void {
    const now = this.#now();
    const slots = counted.map(({ applied: { policy, consumption }, store }): Held => {
      const renewAt = now + consumption.windowSeconds * 1000 * renewalShare;
      return { consumption, store, handlerWaitMs: handlerWaitOf(policy, consumption), renewAt };
    });
    for (const held of slots) this.#held.set(held.consumption, held);
    this.#timer ??= setInterval(() => this.renew(), tickMs).unref();
    exchange.onClose(() => {
      for (const held of slots) held.renewAt = Number.POSITIVE_INFINITY;
    });
  }

  #correct(
    { applied: { policy, consumption }, receipt, store }: CountedConsumption<Raw>,
    exchange: GateExchange<Raw>,
    status: number,
  ): void {
    const adjust = (actual: number): void => {
      if (actual !== consumption.cost) store.adjust([{ consumption, receipt, by: actual - consumption.cost }]);
    };
    if (consumption.slot !== undefined) this.answered(consumption);
    if (policy.algorithm === "concurrency" || isUncounted(policy.countOnly, status)) return adjust(0);
    if (policy.settle === undefined) return;
    Promise.resolve()
      .then(() => policy.settle?.(exchange.raw, exchange.state.facts, status))
      .then((cost) => adjust(cost === undefined ? consumption.cost : checkCount(policy.name, "settle", cost)))
      .catch(() => {
        this.#logger.warn({ policy: policy.name }, `portcullis: limit "${policy.name}" could not be settled`);
      });
  }
}

function handlerWaitOf<Raw>({ releaseAfterMs }: AppliedPolicy<Raw>["policy"], { windowSeconds }: Consumption): number {
  return Math.min(releaseAfterMs, windowSeconds * 1000);
}

/** A response that broke off counts: its work may be done. */
function isUncounted(countOnly: "failures" | "successes" | undefined, status: number): boolean {
  if (countOnly === undefined || status === 0) return false;
  return countOnly === "failures" ? status < 400 : status >= 400;
}
