/**
 * What the login throttle asks of a store. The in-process store and the Redis store pass one contract battery. Four counters
 * bound the guessing of passwords: of an address, of an account at one place (a pair), of an account, and the pace at which an
 * exhausted account may still be tried.
 */
import type { StoreFault } from "./ports.js";

/** A fixed window that starts with its first attempt. */
export interface AttemptLimit {
  readonly key: string;
  readonly limit: number;
  readonly windowMs: number;
}

/** The counter of an account, wherever it is tried from. It never blocks: it only slows down, or asks for more. */
export interface AccountLimit extends AttemptLimit {
  /** Exists if a sign-in of this account succeeded at this place before: the counter then neither counts nor applies. */
  readonly knownKey: string;
  readonly paceKey: string;
  /** One attempt in this time, once the counter is exhausted; undefined lets all pass and only says so. */
  readonly paceMs: number | undefined;
}

/** One attempt to sign in. It counts everywhere or nowhere. The keys of pair, pardon and account share a slot. */
export interface AttemptQuestion {
  /** Undefined for a device that is trusted. */
  readonly address: AttemptLimit | undefined;
  readonly pair: AttemptLimit;
  /** Holds the time of the last pardon: what pairs of the account counted before is void. */
  readonly pardonKey: string;
  /** Undefined for a device that is trusted. */
  readonly account: AccountLimit | undefined;
}

export interface AttemptAnswer {
  /** The counter that refuses the attempt; a refused attempt counts nowhere. */
  readonly refusedBy: "address" | "pair" | "account" | undefined;
  /** Milliseconds until another attempt may pass; 0 if this one does. */
  readonly retryMs: number;
  /** Is the account's counter exhausted? */
  readonly exhausted: boolean;
  /** Does the account's counter count this attempt? Not where the place is known. */
  readonly counted: boolean;
}

/** What became of an attempt that was admitted. */
export interface AttemptOutcome {
  readonly question: AttemptQuestion;
  /** As the answer said. */
  readonly counted: boolean;
  /** `unchecked`: no password was looked at, so the attempt is taken back. */
  readonly result: "succeeded" | "failed" | "unchecked";
  /** How a pair is blocked when its attempts are used up: for its window, then twice as long each time, up to `longestMs`. */
  readonly block: { readonly longestMs: number; readonly memoryMs: number };
  /** How long a place is known after a sign-in. */
  readonly knownMs: number;
  /** The counter of failures that other services read; its time starts with the first failure. */
  readonly failures: { readonly key: string; readonly ttlMs: number };
}

/** Whose counters to forget. */
export interface Pardon {
  readonly addressKey?: string | undefined;
  readonly account?:
    | { readonly key: string; readonly paceKey: string; readonly pardonKey: string; readonly memoryMs: number }
    | undefined;
}

export interface LoginStore {
  /** Admits and counts an attempt, or refuses it, in one round trip. */
  charge(question: AttemptQuestion): Promise<AttemptAnswer | StoreFault>;
  /** Settles an admitted attempt, in one round trip. Resolves to a fault if that could not be recorded. */
  settle(outcome: AttemptOutcome): Promise<StoreFault | undefined>;
  /** Rejects with a StoreFault. */
  pardon(pardon: Pardon): Promise<void>;
}
