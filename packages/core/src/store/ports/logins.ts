/**
 * What the login throttle asks of a store. The in-process store and the Redis store pass one contract battery. Counters
 * bound the guessing of passwords: of an address, of an account at one place (a pair), of an account, and the pace at
 * which an exhausted account may still be tried.
 */
import type { StoreFault } from "./decisions.js";

/** A fixed window that starts with its first attempt. */
export interface AttemptLimit {
  readonly key: string;
  readonly limit: number;
  readonly windowMs: number;
}

/**
 * The attempts of an account at one place. All spellings of its name that a database may take for equal count together;
 * a success takes back only what its own spelling has counted, since the others may be another account.
 */
export interface PairLimit extends AttemptLimit {
  readonly spelling: string;
}

/**
 * The counters of an account, wherever it is tried from: of all spellings of its name, and of this one if that is not
 * the same. They never block: they only slow down, or ask for more, as soon as one is exhausted.
 */
export interface AccountLimit {
  readonly keys: readonly string[];
  readonly limit: number;
  readonly windowMs: number;
  /**
   * Exists if a sign-in of this account succeeded at this place before: the counter then neither counts nor applies.
   */
  readonly knownKey: string;
  readonly paceKey: string;
  /** One attempt in this time, once the counter is exhausted; undefined lets all pass and only says so. */
  readonly paceMs: number | undefined;
}

/** One attempt to sign in. It counts everywhere or nowhere. The keys of pair, pardon and account share a slot. */
export interface AttemptQuestion {
  /** Of a device that is trusted, the device in its place. */
  readonly address: AttemptLimit;
  readonly pair: PairLimit;
  /** Holds the time of the last pardon: what was counted for the account before is void. */
  readonly pardonKey: string;
  /** Undefined for a device that is trusted. */
  readonly account: AccountLimit | undefined;
}

export interface AttemptAnswer {
  /** The counter that refuses the attempt; a refused attempt counts nowhere. */
  readonly refusedBy: "address" | "pair" | "account" | undefined;
  /** Milliseconds until another attempt may pass; 0 if this one does. */
  readonly retryMs: number;
  /** Is a counter of the account exhausted? */
  readonly exhausted: boolean;
  /** Do the account's counters count this attempt? Not where the place is known. */
  readonly counted: boolean;
}

/**
 * `succeeded` forgets what the pair has counted, and gives one attempt back to each other counter. `unchecked`: no
 * password was looked at, so the attempt is taken back. `interrupted`, by a fault: as that, but the address has counted
 * it.
 */
export type AttemptResult = "succeeded" | "failed" | "unchecked" | "interrupted";

/** Where an account that the application has found under another name is known from now on. */
export interface KnownAddress {
  readonly pair: Pick<PairLimit, "key" | "spelling">;
  readonly knownKey: string;
}

/** What became of an attempt that was admitted, or whose charge came to a fault. */
export interface AttemptOutcome {
  /** The same object that was charged. */
  readonly question: AttemptQuestion;
  /**
   * As the answer said; undefined if that was a fault. The store then may have counted the attempt all the same: only
   * what it has counted is given back.
   */
  readonly counted: boolean | undefined;
  readonly result: AttemptResult;
  /** With `succeeded`, the place of the account that has signed in. @default that of the question */
  readonly signedIn?: KnownAddress | undefined;
  /**
   * How a pair is blocked when its attempts are used up: for its window, then twice as long each time, up to
   * `longestMs`.
   */
  readonly block: { readonly longestMs: number; readonly memoryMs: number };
  /** How long a place is known after a sign-in. */
  readonly knownMs: number;
  /** The counter of failures that other services read; its time starts with the first failure. */
  readonly failures: { readonly key: string; readonly ttlMs: number };
}

/** Whose counters to forget. */
export interface LoginReset {
  readonly addressKey?: string | undefined;
  readonly account?:
    | {
        readonly counters: readonly string[];
        readonly paceKey: string;
        readonly pardonKey: string;
        readonly memoryMs: number;
      }
    | undefined;
}

export interface LoginStore {
  /**
   * Admits and counts an attempt, or refuses it, in one round trip. After a fault the store takes back whatever it has
   * counted if the caller settles the attempt within a minute, and leaves it counted if not.
   */
  charge(question: AttemptQuestion): Promise<AttemptAnswer | StoreFault>;
  /** Settles an admitted attempt, in one round trip. Resolves to a fault if that could not be recorded. */
  settle(outcome: AttemptOutcome): Promise<StoreFault | undefined>;
  /** Rejects with a StoreFault. */
  pardon(pardon: LoginReset): Promise<void>;
}
