/**
 * The port of the login throttle. The store in process and the store in Redis pass one contract battery. Counters limit
 * the guesses of passwords: of an IP address, of an account from one IP address (a pair), and of an account. A minimum
 * interval (the pace) limits the attempts on an exhausted account.
 */
import type { StoreFault } from "./fault.js";

/** A fixed window that begins with its first attempt. */
export interface AttemptLimit {
  readonly key: string;
  readonly limit: number;
  readonly windowMs: number;
}

/**
 * The attempts on an account from one IP address. All spellings of the name that a database may take for equal count
 * together. A success takes back the attempts of its own spelling only, since another spelling may be another account.
 */
export interface AccountAndIpLimit extends AttemptLimit {
  readonly spelling: string;
}

/**
 * The counters of an account from all IP addresses: of all spellings of its name, and of this spelling if that is
 * another counter. They never block: an exhausted counter only slows attempts down, or asks for more.
 */
export interface AccountLimit {
  readonly keys: readonly string[];
  readonly limit: number;
  readonly windowMs: number;
  /**
   * Exists if this account has signed in from this IP address before: then the counters neither count nor apply.
   */
  readonly knownKey: string;
  readonly intervalKey: string;
  /** Minimum interval of attempts while a counter is exhausted; undefined only reports the exhaustion. */
  readonly minIntervalMs: number | undefined;
}

/** One login attempt. It counts everywhere or nowhere. The keys of pair, pardon and account share a hash slot. */
export interface AttemptQuestion {
  /** The IP address, or a trusted device in its place. */
  readonly address: AttemptLimit;
  readonly accountAndIp: AccountAndIpLimit;
  /** Contains the time of the last reset: earlier counts of the account are void. */
  readonly resetKey: string;
  /** Undefined for a trusted device. */
  readonly account: AccountLimit | undefined;
}

export interface AttemptAnswer {
  /** The counter that refuses the attempt. A refused attempt counts nowhere. */
  readonly refusedBy: "address" | "pair" | "account" | undefined;
  /** Milliseconds until another attempt is allowed; 0 if this one is. */
  readonly retryMs: number;
  /** Is a counter of the account exhausted? */
  readonly exhausted: boolean;
  /** Have the counters of the account counted this attempt? Not from a known IP address. */
  readonly counted: boolean;
}

/**
 * The result of an attempt. `succeeded` deletes the attempts of the pair, and refunds one attempt to each other
 * counter. `unchecked` means that no password was tested: the attempt is refunded. `interrupted` means a fault: the
 * attempt is refunded, except to the IP address.
 */
export type AttemptResult = "succeeded" | "failed" | "unchecked" | "interrupted";

/** The IP address becomes known for an account that the application has found under another name. */
export interface KnownAddress {
  readonly accountAndIp: Pick<AccountAndIpLimit, "key" | "spelling">;
  readonly knownKey: string;
}

/** The outcome of an attempt that was allowed, or whose count was a fault. */
export interface AttemptOutcome {
  /** The same object that was passed to {@link LoginStore.count}. */
  readonly question: AttemptQuestion;
  /**
   * From the answer; undefined if that was a fault. The store may have counted the attempt all the same: only existing
   * counts are given back.
   */
  readonly counted: boolean | undefined;
  readonly result: AttemptResult;
  /** With `succeeded`, the IP address of the account that has signed in. @default that of the question */
  readonly signedIn?: KnownAddress | undefined;
  /**
   * The block of a pair whose attempts are used up: for its window at first, then twice as long each time, up to
   * `longestMs`.
   */
  readonly block: { readonly longestMs: number; readonly memoryMs: number };
  /** How long an IP address is known after a sign-in. */
  readonly knownMs: number;
  /** The counter of failures that other services read. Its time begins with the first failure. */
  readonly failures: { readonly key: string; readonly ttlMs: number };
}

/** The counters to delete. */
export interface LoginReset {
  readonly addressKey?: string | undefined;
  readonly account?:
    | {
        readonly counters: readonly string[];
        readonly intervalKey: string;
        readonly resetKey: string;
        readonly memoryMs: number;
      }
    | undefined;
}

/** The counters to read: of an address, of an account, and of both together. */
export interface LoginReading {
  readonly addressKey?: string | undefined;
  readonly account?:
    | {
        readonly counters: readonly string[];
        readonly windowMs: number;
        readonly intervalKey: string;
        readonly resetKey: string;
        /** Undefined without an address. */
        readonly pair: { readonly pairKey: string; readonly knownKey: string } | undefined;
      }
    | undefined;
}

/** Attempts of a window that has not ended. */
export interface AttemptCount {
  readonly attempts: number;
  /** Milliseconds until the window or the block ends; 0 without attempts. */
  readonly leftMs: number;
}

export interface LoginCounts {
  readonly address: AttemptCount | undefined;
  /** The fullest counter, with the milliseconds until an exhausted account may be tried again. */
  readonly account: (AttemptCount & { readonly pacedMs: number }) | undefined;
  /** `known`: the account has signed in from the address before, so that the counters of the account do not apply. */
  readonly pair: (AttemptCount & { readonly known: boolean }) | undefined;
}

export interface LoginStore {
  /**
   * Allows and counts an attempt, or refuses it, in one round trip. After a fault, the store undoes its counts if the
   * caller records the outcome within a minute. Otherwise the attempt stays counted.
   */
  count(question: AttemptQuestion): Promise<AttemptAnswer | StoreFault>;
  /** Records the outcome of an attempt, in one round trip. Resolves to a fault if that fails. */
  record(outcome: AttemptOutcome): Promise<StoreFault | undefined>;
  /** Deletes counters. Rejects with a StoreFault. */
  reset(pardon: LoginReset): Promise<void>;
  /** Reads counters, and changes nothing. Rejects with a StoreFault. */
  read(reading: LoginReading): Promise<LoginCounts>;
}
