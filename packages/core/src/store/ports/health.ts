/** `up`: answers; `degraded`: answers in part; `down`: does not answer. */
export interface StoreState {
  readonly kind: "memory" | "redis";
  readonly status: "up" | "degraded" | "down";
  /** What is wrong, in short fixed phrases. */
  readonly findings: readonly string[];
  /** Is the clock of this process known to be further from the store's than is forgiven? Then it judges no times. */
  readonly clockDiffers?: true | undefined;
}

/** The state of a store, as the last calls have found it. Reading it calls nobody. */
export interface StoreHealth {
  state(): StoreState;
}

/** Is the clock of this process known to be wrong, by that of the store? */
export function clockDiffers(store: StoreHealth): boolean {
  return store.state().clockDiffers === true;
}
