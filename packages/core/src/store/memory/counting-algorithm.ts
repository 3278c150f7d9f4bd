import type { Consumption, CounterState } from "../ports/decisions.js";

/** The result of a count. */
export interface Counted<State> {
  readonly state: State;
  /** Units held now. At or above the limit, the counter refuses. */
  readonly consumed: number;
  /** The end of the state, in milliseconds of the store's clock. */
  readonly endsAt: number;
  readonly receipt: number;
}

/**
 * An algorithm in process. It works on whole numbers below 2^53, so that it decides as the scripts do. The algorithm
 * owns its states, and may change them.
 */
export interface CountingAlgorithm<State> {
  /** Returns the counter state with this consumption. */
  peek(consumption: Consumption, state: State | undefined, now: number): CounterState;
  /** Counts a consumption that fits. */
  count(consumption: Consumption, state: State | undefined, now: number): Counted<State>;
  /** Corrects a consumption that was counted. Undefined if there is nothing left to correct. */
  adjust(
    consumption: Consumption,
    state: State | undefined,
    now: number,
    by: number,
    receipt: number,
  ): Counted<State> | undefined;
}
