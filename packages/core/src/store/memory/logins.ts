import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../../lib/growing-lru.js";
import type {
  AccountLimit,
  AttemptCount,
  AttemptAnswer,
  AttemptLimit,
  AttemptOutcome,
  AttemptQuestion,
  LoginStore,
  AccountAndIpLimit,
  LoginCounts,
  LoginReading,
  LoginReset,
} from "../ports/logins.js";
import { lruClock, steadyNow } from "../../lib/steady-clock.js";
import type { Entry } from "./bounded.js";
import { BoundedTable } from "./bounded.js";

export interface MemoryLoginStoreOptions {
  /** Milliseconds of a monotonic clock. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** Maximum number of counters. @default 10_000 */
  readonly counters?: number | undefined;
}

/** A counter of attempts; the weight is their number. */
interface Attempts extends Entry {
  readonly startedAt: number;
  blocked: boolean;
  /** The time before which an exhausted account may not be tried again. */
  pacedUntil: number;
  /** In a counter of account and IP address: the number of attempts for each spelling of the account's name. */
  spellings: Map<string, number> | undefined;
}

const noAttempts: AttemptCount = { attempts: 0, leftMs: 0 };

/** Maximum number of known addresses, of resets, and of block levels. The loss of one does little harm. */
const maxNotes = 10_000;

/** Login attempts of this process alone: for development, for tests, and while Redis is down. */
export class MemoryLoginStore implements LoginStore {
  readonly #now: () => number;
  readonly #counters: BoundedTable<Attempts>;
  /** Known addresses of accounts, and times of resets. */
  readonly #notes: LRUCache<string, number>;
  /** The number of blocks of each account and IP address. */
  readonly #levels: LRUCache<string, number>;

  constructor({ now = steadyNow, counters = 10_000 }: MemoryLoginStoreOptions = {}) {
    const notes = { max: maxNotes, ttl: 1, ttlResolution: 0, perf: lruClock(now) };
    this.#now = now;
    this.#counters = new BoundedTable({ now, capacity: counters });
    this.#notes = new GrowingLru(notes);
    this.#levels = new GrowingLru(notes);
  }

  /** Resolves always to an answer, never to a fault. */
  count(question: AttemptQuestion): Promise<AttemptAnswer> {
    return Promise.resolve(this.#countAttempt(question));
  }

  /** Keeps no count of failures: no other service reads this memory. */
  record({ question, counted, result, signedIn, block, knownMs }: AttemptOutcome): Promise<undefined> {
    const { address, accountAndIp, account } = question;
    // The attempt was counted in another store: there is nothing to give back here.
    if (counted === undefined) {
      if (result !== "succeeded") return Promise.resolve(undefined);
      this.#forgive(signedIn?.accountAndIp ?? accountAndIp);
      this.#note(signedIn?.knownKey ?? account?.knownKey, knownMs);
      return Promise.resolve(undefined);
    }
    if (result === "failed") {
      this.#blockIfUsedUp(accountAndIp, block);
      return Promise.resolve(undefined);
    }
    if (result === "succeeded" && signedIn === undefined) this.#forgive(accountAndIp);
    else this.#refundPair(accountAndIp);
    if (result !== "interrupted") this.#refund(address.key);
    if (account !== undefined && counted) for (const key of account.keys) this.#refund(key);
    if (result !== "succeeded") return Promise.resolve(undefined);
    if (signedIn !== undefined) this.#forgive(signedIn.accountAndIp);
    this.#note(signedIn?.knownKey ?? account?.knownKey, knownMs);
    return Promise.resolve(undefined);
  }

  /** Makes the address known for this account. */
  #note(knownKey: string | undefined, knownMs: number): void {
    if (knownKey !== undefined) this.#notes.set(knownKey, this.#now(), { ttl: knownMs });
  }

  reset({ addressKey, account }: LoginReset): Promise<void> {
    if (addressKey !== undefined) this.#forget(addressKey);
    if (account !== undefined) {
      for (const key of account.counters) this.#forget(key);
      this.#notes.set(account.resetKey, this.#now(), { ttl: account.memoryMs });
    }
    return Promise.resolve();
  }

  read({ addressKey, account }: LoginReading): Promise<LoginCounts> {
    const resetAt = account === undefined ? undefined : this.#notes.get(account.resetKey);
    const all = (account?.counters ?? []).map((key) => this.#countOf(key, resetAt));
    const [fullest = noAttempts] = all.sort((one, other) => other.attempts - one.attempts);
    const [allKey = ""] = account?.counters ?? [];
    const pacedMs = Math.max(0, (this.#live(allKey)?.pacedUntil ?? 0) - this.#now());
    const pair = account?.pair;
    return Promise.resolve({
      address: addressKey === undefined ? undefined : this.#countOf(addressKey),
      account: account === undefined ? undefined : { ...fullest, pacedMs },
      pair:
        pair === undefined
          ? undefined
          : { ...this.#countOf(pair.pairKey, resetAt), known: this.#notes.has(pair.knownKey) },
    });
  }

  /** The attempts in a counter, unless the account was reset since. */
  #countOf(key: string, resetAt?: number): AttemptCount {
    const counter = this.#live(key);
    if (counter === undefined || (resetAt !== undefined && counter.startedAt <= resetAt)) return noAttempts;
    return { attempts: counter.weight, leftMs: counter.endsAt - this.#now() };
  }

  #countAttempt({ address, accountAndIp, resetKey, account }: AttemptQuestion): AttemptAnswer {
    const now = this.#now();
    const pardonedAt = this.#notes.get(resetKey);
    if (pardonedAt !== undefined)
      for (const key of [accountAndIp.key, ...(account?.keys ?? [])]) this.#forgetUntil(key, pardonedAt);
    const refusal = this.#refusal("address", address) ?? this.#refusal("pair", accountAndIp);
    if (refusal !== undefined) return refusal;
    const exhausted = account !== undefined && this.#isExhausted(account);
    const [allKey = ""] = account?.keys ?? [];
    const pacedUntil = this.#live(allKey)?.pacedUntil ?? 0;
    if (exhausted && pacedUntil > now)
      return { refusedBy: "account", retryMs: pacedUntil - now, exhausted, counted: false };
    // An address may fill only its share of the table.
    const owner = address.key;
    this.#count(address, owner);
    const tried = this.#count(accountAndIp, owner);
    tried.spellings ??= new Map();
    tried.spellings.set(accountAndIp.spelling, (tried.spellings.get(accountAndIp.spelling) ?? 0) + 1);
    const counted = account !== undefined && !this.#notes.has(account.knownKey);
    if (counted) {
      const { limit, windowMs, minIntervalMs = 0 } = account;
      const [ofAll] = account.keys.map((key) => this.#count({ key, limit, windowMs }, owner));
      if (exhausted && ofAll !== undefined) ofAll.pacedUntil = now + minIntervalMs;
    }
    return { refusedBy: undefined, retryMs: 0, exhausted, counted };
  }

  #refusal(refusedBy: "address" | "pair", { key, limit }: AttemptLimit): AttemptAnswer | undefined {
    const counter = this.#live(key);
    if (counter === undefined || counter.weight < limit) return undefined;
    return { refusedBy, retryMs: counter.endsAt - this.#now(), exhausted: false, counted: false };
  }

  #isExhausted({ keys, limit, knownKey }: AccountLimit): boolean {
    return !this.#notes.has(knownKey) && keys.some((key) => (this.#live(key)?.weight ?? 0) >= limit);
  }

  /** Returns a counter whose window has not ended. */
  #live(key: string): Attempts | undefined {
    const counter = this.#counters.get(key);
    return counter !== undefined && counter.endsAt > this.#now() ? counter : undefined;
  }

  #count({ key, limit, windowMs }: AttemptLimit, owner: string | undefined): Attempts {
    const live = this.#live(key);
    if (live !== undefined) {
      live.weight += 1;
      return live;
    }
    const ended = this.#counters.get(key);
    if (ended !== undefined) this.#counters.remove(ended);
    const now = this.#now();
    const counter: Attempts = {
      ...{ key, owner, weight: 1, pinnedFrom: limit, endsAt: now + windowMs, position: 0, ownerPosition: 0 },
      ...{ startedAt: now, blocked: false, pacedUntil: 0, spellings: undefined },
    };
    // Without a counter the number of attempts would be unlimited.
    this.#counters.add(counter, true);
    return counter;
  }

  #refund(key: string): void {
    const counter = this.#live(key);
    if (counter === undefined) return;
    counter.weight -= 1;
    // Otherwise refunded attempts could fill the table with names.
    if (counter.weight <= 0) this.#counters.remove(counter);
  }

  /** Gives back one attempt of this spelling. Attempts of other spellings stay. */
  #refundPair({ key, spelling }: AccountAndIpLimit): void {
    const spellings = this.#live(key)?.spellings;
    const tried = spellings?.get(spelling) ?? 0;
    if (tried === 0) return;
    this.#refund(key);
    if (tried > 1) spellings?.set(spelling, tried - 1);
    else spellings?.delete(spelling);
  }

  /** Deletes the attempts of a spelling, and the counter if there are no others. */
  #forgive({ key, spelling }: Pick<AccountAndIpLimit, "key" | "spelling">): void {
    const counter = this.#live(key);
    const rest = (counter?.weight ?? 0) - (counter?.spellings?.get(spelling) ?? 0);
    if (counter === undefined || rest <= 0) return this.#forget(key);
    counter.weight = rest;
    counter.spellings?.delete(spelling);
  }

  #forgetUntil(key: string, pardonedAt: number): void {
    const counter = this.#counters.get(key);
    if (counter !== undefined && counter.startedAt <= pardonedAt) this.#forget(key);
  }

  #forget(key: string): void {
    const counter = this.#counters.get(key);
    if (counter !== undefined) this.#counters.remove(counter);
    this.#levels.delete(key);
  }

  #blockIfUsedUp({ key, limit, windowMs }: AttemptLimit, { longestMs, memoryMs }: AttemptOutcome["block"]): void {
    const counter = this.#live(key);
    if (counter === undefined || counter.blocked || counter.weight < limit) return;
    const level = this.#levels.get(key) ?? 0;
    counter.endsAt = this.#now() + Math.min(longestMs, windowMs * 2 ** level);
    counter.blocked = true;
    this.#levels.set(key, level + 1, { ttl: memoryMs });
  }
}
