import { LRUCache } from "lru-cache";
import type {
  AccountLimit,
  AttemptAnswer,
  AttemptLimit,
  AttemptOutcome,
  AttemptQuestion,
  LoginStore,
  Pardon,
} from "../login-port.js";
import type { FairEntry } from "./fair-table.js";
import { FairTable } from "./fair-table.js";

export interface MemoryLoginStoreOptions {
  /** Unix milliseconds. */
  readonly now?: (() => number) | undefined;
  /** Most counters kept. @default 40_000 */
  readonly counters?: number | undefined;
}

/** A counter of attempts. */
interface Attempts extends FairEntry {
  count: number;
  readonly limit: number;
  readonly startedAt: number;
  /** The count is void from then on; until then a used-up counter refuses. */
  resetAt: number;
  /** How often its attempts were used up by failures. */
  level: number;
  blocked: boolean;
  /** Until when an exhausted account may not be tried again. */
  pacedUntil: number;
}

/** Places and pardons kept: to forget one costs its owner a little comfort. */
const mostPlaces = 10_000;

/** Attempts to sign in, as far as this process has seen them: for development, tests and while Redis is down. */
export class MemoryLoginStore implements LoginStore {
  readonly #now: () => number;
  readonly #table: FairTable<Attempts>;
  /** Keys of places with a known account, and times of pardons. */
  readonly #notes: LRUCache<string, number>;

  constructor({ now = Date.now, counters = 40_000 }: MemoryLoginStoreOptions = {}) {
    this.#now = now;
    this.#table = new FairTable({ now, capacity: counters, weigh: (entry) => weigh(entry, now()) });
    this.#notes = new LRUCache({ max: mostPlaces, ttl: 1, ttlResolution: 0, perf: { now } });
  }

  /** Never anything but an answer. */
  charge(question: AttemptQuestion): Promise<AttemptAnswer> {
    return Promise.resolve(this.#charge(question));
  }

  settle({ question, counted, result, block, knownMs, failures }: AttemptOutcome): Promise<undefined> {
    const { address, pair, account } = question;
    if (result === "failed") {
      this.#blockIfUsedUp(pair, block);
      this.#count({ key: failures.key, limit: Number.POSITIVE_INFINITY, windowMs: failures.ttlMs });
      return Promise.resolve(undefined);
    }
    if (result === "succeeded") this.#table.delete(pair.key);
    else this.#refund(pair.key);
    if (address !== undefined) this.#refund(address.key);
    if (account === undefined) return Promise.resolve(undefined);
    if (counted) this.#refund(account.key);
    if (result === "succeeded") this.#notes.set(account.knownKey, this.#now(), { ttl: knownMs });
    return Promise.resolve(undefined);
  }

  pardon({ addressKey, account }: Pardon): Promise<void> {
    if (addressKey !== undefined) this.#table.delete(addressKey);
    if (account !== undefined) {
      this.#table.delete(account.key);
      this.#notes.set(account.pardonKey, this.#now(), { ttl: account.memoryMs });
    }
    return Promise.resolve();
  }

  #charge({ address, pair, pardonKey, account }: AttemptQuestion): AttemptAnswer {
    const now = this.#now();
    const pardonedAt = this.#notes.get(pardonKey);
    const tried = this.#table.get(pair.key);
    if (tried !== undefined && pardonedAt !== undefined && tried.startedAt <= pardonedAt) this.#table.delete(pair.key);
    const refusal =
      (address === undefined ? undefined : this.#refusal("address", address)) ?? this.#refusal("pair", pair);
    if (refusal !== undefined) return refusal;
    const exhausted = account !== undefined && this.#isExhausted(account);
    const pacedUntil = account === undefined ? 0 : (this.#table.get(account.key)?.pacedUntil ?? 0);
    if (exhausted && pacedUntil > now)
      return { refusedBy: "account", retryMs: pacedUntil - now, exhausted, counted: false };
    if (address !== undefined) this.#count(address);
    this.#count(pair);
    const counted = account !== undefined && !this.#notes.has(account.knownKey);
    if (counted) {
      const counter = this.#count(account);
      if (exhausted) counter.pacedUntil = now + (account.paceMs ?? 0);
    }
    return { refusedBy: undefined, retryMs: 0, exhausted, counted };
  }

  #refusal(refusedBy: "address" | "pair", { key, limit }: AttemptLimit): AttemptAnswer | undefined {
    const counter = this.#live(key);
    if (counter === undefined || counter.count < limit) return undefined;
    return { refusedBy, retryMs: counter.resetAt - this.#now(), exhausted: false, counted: false };
  }

  #isExhausted({ key, limit, knownKey }: AccountLimit): boolean {
    return !this.#notes.has(knownKey) && (this.#live(key)?.count ?? 0) >= limit;
  }

  /** A counter whose window has not ended. */
  #live(key: string): Attempts | undefined {
    const counter = this.#table.get(key);
    return counter !== undefined && counter.resetAt > this.#now() ? counter : undefined;
  }

  #count({ key, limit, windowMs }: AttemptLimit): Attempts {
    const live = this.#live(key);
    if (live !== undefined) {
      live.count += 1;
      return live;
    }
    const now = this.#now();
    const before = this.#table.get(key);
    const counter: Attempts = {
      key,
      count: 1,
      limit,
      startedAt: now,
      resetAt: now + windowMs,
      expiresAt: Math.max(before?.expiresAt ?? 0, now + windowMs),
      level: before?.level ?? 0,
      blocked: false,
      pacedUntil: 0,
      slot: 0,
    };
    this.#table.set(counter);
    return counter;
  }

  #refund(key: string): void {
    const counter = this.#live(key);
    if (counter !== undefined && counter.count > 0) counter.count -= 1;
  }

  #blockIfUsedUp({ key, limit, windowMs }: AttemptLimit, { longestMs, memoryMs }: AttemptOutcome["block"]): void {
    const counter = this.#live(key);
    if (counter === undefined || counter.blocked || counter.count < limit) return;
    const now = this.#now();
    counter.resetAt = now + Math.min(longestMs, windowMs * 2 ** counter.level);
    counter.level += 1;
    counter.blocked = true;
    counter.expiresAt = Math.max(counter.resetAt, now + memoryMs);
  }
}

/** One that refuses must stay; one that refused before goes last. */
function weigh({ count, limit, level, resetAt }: Attempts, now: number): number | undefined {
  return count >= limit && resetAt > now ? undefined : count + level * 1000;
}
