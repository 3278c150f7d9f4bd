/** `up`: answers; `degraded`: answers in part; `down`: does not answer. */
export interface StoreState {
  readonly kind: "memory" | "redis";
  readonly status: "up" | "degraded" | "down";
  /** The problems, in short fixed phrases. */
  readonly findings: readonly string[];
  /**
   * The clock of this process differs from the store's by more than the tolerance: this process then judges no times.
   */
  readonly clockDiffers?: true | undefined;
}

/** The state of a store, as its last calls have shown it. Reading the state makes no call. */
export interface StoreHealth {
  state(): StoreState;
}

/** Does the clock of this process differ from the store's by more than the tolerance? */
export function clockDiffers(store: StoreHealth): boolean {
  return store.state().clockDiffers === true;
}
