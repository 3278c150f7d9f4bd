import type { TokenQuestion } from "./decisions.js";
import { isCutOff } from "./decisions.js";
import type { StoreFault } from "./fault.js";

/** Options of `revoke()`. */
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

/** Is told of changes of records of revocation, so that it looks at them again. */
export interface RecordListener {
  /** The record or the cut-off under this key may have changed. */
  changed(key: string): void;
  /** Any record may have changed without a message: the store is reached again, or messages were lost. */
  missed(): void;
}

/** The knowledge of a store about many keys of revocation. */
export interface FoundRecords {
  /** The keys that exist, with their cut-off in unix seconds; undefined for a value that is no cut-off. */
  readonly found: ReadonlyMap<string, number | undefined>;
  /** Why the store could not say it of all keys. */
  readonly fault: StoreFault | undefined;
}

/** The values under the keys that exist: what {@link RevocationRecords.find} returns. */
export type Found = FoundRecords["found"];

/** The state of a token by its records. */
export type TokenState = "good" | "revoked" | "session_ended" | "unreadable";

/** A cut-off is told from a revocation, since the end of a session also revokes its tokens. */
export function stateOf(question: TokenQuestion, found: Found): TokenState {
  let isUnreadable = false;
  for (const key of question.cutoffKeys) {
    if (!found.has(key)) continue;
    const cutoff = found.get(key);
    if (cutoff === undefined) isUnreadable = true;
    else if (isCutOff(question, cutoff)) return "session_ended";
  }
  if (found.has(question.revokedKey)) return "revoked";
  return isUnreadable ? "unreadable" : "good";
}

/** Reads records of revocation and cut-offs of many tokens at once, outside requests. */
export interface RevocationRecords {
  /** Never rejects: other keys are read even if some of them cannot be read. */
  find(keys: readonly string[]): Promise<FoundRecords>;
  /** Calls the listener at changes, whoever makes them, as far as the store tells. Returns a function that removes it. */
  watch(listener: RecordListener): () => void;
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
