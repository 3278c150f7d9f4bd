/** A new one-time value. */
export interface NewOneTimeValue {
  /** The key of the value. It contains a digest of the token. */
  readonly key: string;
  /** The key of the values of its subject, in the hash slot of `key`; undefined without a subject. */
  readonly subjectKey: string | undefined;
  readonly content: string;
  readonly ttlMs: number;
  /** Maximum number of outstanding values of a subject. The oldest ones are dropped. */
  readonly maxOutstanding: number;
}

/** The outcome of an issue. */
export interface OneTimeIssued {
  /** Unix milliseconds of the store's clock. */
  readonly expiresAt: number;
  /** Number of older values of the subject that were dropped. */
  readonly dropped: number;
}

/**
 * Values that are consumed once. A call that cannot be answered rejects with a StoreFault. Every call takes effect once
 * or not at all, also if it is repeated.
 */
export interface OneTimeStore {
  issue(value: NewOneTimeValue): Promise<OneTimeIssued>;
  /**
   * Resolves to the content of a value, and ends the value. Resolves to undefined if there is none. A call with the same
   * random `consumption` gets the content again for some seconds: its first reply may have been lost.
   */
  consume(key: string, consumption: string): Promise<string | undefined>;
  /** Resolves to the content of a value, which stays. */
  peek(key: string): Promise<string | undefined>;
  /** Ends all outstanding values of a subject. Resolves to their number. */
  revoke(subjectKey: string): Promise<number>;
}
