export interface RevokeOptions {
  /**
   * How many replicas must have the record too, within a second. Otherwise the call rejects, although the master has
   * the record. @default 0
   */
  readonly replicas?: number | undefined;
}

/** Records which tokens are revoked. A {@link DecisionStore} answers whether one is. */
export interface RevocationStore {
  /** Records a revocation until `expiresAt` (unix seconds, by the store's clock). Rejects with a StoreFault. */
  revoke(key: string, expiresAt: number, options?: RevokeOptions): Promise<void>;
  /**
   * Moves a cut-off to now, by the store's clock, or to `at` (unix seconds) if that is earlier. A cut-off never moves
   * back. It is kept for `ttlSeconds`. Resolves to the cut-off in unix seconds.
   */
  cutOff(key: string, ttlSeconds: number, at?: number): Promise<number>;
}

/**
 * The minimum time between the expiry of a token and the end of its record: another service may allow that clock
 * difference.
 */
const minMarginSeconds = 300;

/**
 * How many seconds a revocation record outlives its token, where the clock tolerance of this gate is
 * `toleranceSeconds`.
 */
export function marginSecondsFor(toleranceSeconds: number): number {
  return Math.max(Math.ceil(toleranceSeconds), minMarginSeconds);
}

/**
 * When the record of a revoked token ends, in unix seconds. The scripts that revoke tokens by themselves have a twin of
 * this function: `revokeLua` in store/redis/scripts/revocation.ts.
 *
 * @param expiresAt when the token expires, in unix seconds
 */
export function recordEnd(expiresAt: number, marginSeconds: number): number {
  return Math.ceil(expiresAt) + marginSeconds;
}

/** Checks the arguments of {@link RevocationStore.cutOff}: NaN would revoke nothing. */
export function checkCutOff(ttlSeconds: number, at: number | undefined): void {
  if (!(Number.isSafeInteger(ttlSeconds) && ttlSeconds > 0))
    throw new RangeError("a cut-off is kept for whole seconds");
  if (at !== undefined && !(Number.isFinite(at) && at >= 0))
    throw new RangeError("a cut-off is a time in unix seconds");
}
