import type { Consumption, CounterState } from "../ports/decisions.js";

/** What a charge leaves behind. */
export interface Counted<State> {
  readonly state: State;
  /** Units held now; at or above the limit, the counter refuses. */
  readonly consumed: number;
  /** Milliseconds of the store's clock: the state means nothing afterwards. */
  readonly endsAt: number;
  readonly receipt: number;
}

/**
 * An algorithm in process: whole numbers below 2^53, so that it decides as the scripts do. A state belongs to the
 * algorithm, which may change it.
 */
export interface CountingAlgorithm<State> {
  /** How it would stand with this charge. */
  peek(charge: Consumption, state: State | undefined, now: number): CounterState;
  /** Counts a charge that fits. */
  count(charge: Consumption, state: State | undefined, now: number): Counted<State>;
  /** Corrects a charge that was counted; undefined if nothing is left to correct. */
  adjust(
    charge: Consumption,
    state: State | undefined,
    now: number,
    by: number,
    receipt: number,
  ): Counted<State> | undefined;
}
