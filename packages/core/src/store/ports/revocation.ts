export interface RevokeOptions {
  /** How many replicas must have the record too, within a second; else it rejects, though the master has it. @default 0 */
  readonly replicas?: number | undefined;
}

/** Records which tokens are revoked. A {@link DecisionStore} answers whether one is. */
export interface RevocationStore {
  /** Records a revocation until `expiresAt` (unix seconds, by the store's clock). Rejects with a StoreFault. */
  revoke(key: string, expiresAt: number, options?: RevokeOptions): Promise<void>;
  /**
   * Moves a cut-off to now, by the store's clock, or to `at` (unix seconds) if that is earlier, and never back; keeps it for
   * `ttlSeconds`. Resolves to it in unix seconds.
   */
  cutOff(key: string, ttlSeconds: number, at?: number): Promise<number>;
}

/** Checks the arguments of {@link RevocationStore.cutOff}: NaN would revoke nothing. */
export function checkCutOff(ttlSeconds: number, at: number | undefined): void {
  if (!(Number.isSafeInteger(ttlSeconds) && ttlSeconds > 0))
    throw new RangeError("a cut-off is kept for whole seconds");
  if (at !== undefined && !(Number.isFinite(at) && at >= 0))
    throw new RangeError("a cut-off is a time in unix seconds");
}
