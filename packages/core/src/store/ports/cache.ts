import { randomBytes } from "node:crypto";
import type { Channels } from "./channels.js";

/**
 * What the cache asks of a store: values as text, the generations by which it is told which of them still count, and the
 * leases of those who are making one. Every method rejects with a StoreFault if the store cannot answer.
 */
export interface CacheStore {
  /** Milliseconds of the store's clock, which all processes share. */
  now(): number;
  /** One text for each key, undefined for a miss. */
  getMany(keys: readonly string[]): Promise<(string | undefined)[]>;
  /** Ends the leases of these keys: what is being made there is older. */
  setMany(entries: readonly CacheEntry[]): Promise<void>;
  /** Ends their leases too, and tells all processes. */
  deleteMany(keys: readonly string[]): Promise<void>;
  /** The generation under each key; a new one where there is none. They live for at least `ttlMs` more. */
  ensureGenerations(keys: readonly string[], ttlMs: number): Promise<string[]>;
  /** Puts a new generation under each key; the life of one that is there stays, and is at least {@link renewalMs}. */
  renewGenerations(keys: readonly string[]): Promise<void>;
  /**
   * Stores entries that name generations, if all of these are what they were when the making of the entries began. One that
   * did not exist then is made, until this moment of the store's clock; each lives at least as long as the entries.
   * Returns the generation under each key, "" for none: the entries are stored if all are those that they name.
   */
  keep(entries: readonly CacheEntry[], claims: readonly Claim[], untilMs: number): Promise<string[]>;
  /** Asks to be the one who makes the value of a key, for `ms`; `force` takes it from whoever has it. */
  lease(key: string, owner: string, ms: number, force?: boolean): Promise<Lease>;
  /** Keeps a lease for `ms` more; false if it is lost. */
  extend(key: string, owner: string, ms: number): Promise<boolean>;
  /** Ends a lease, stores what was made, and tells whoever waits. False if the lease was lost: then nothing is stored. */
  settle(key: string, owner: string, settlement: Settlement): Promise<boolean>;
  /**
   * Ends a lease whose request has had no answer. The request may still be on its way: for {@link withdrawnMs} the store
   * gives no lease to this owner.
   */
  withdraw(key: string, owner: string): Promise<void>;
  /**
   * Calls the listener whenever the store is there again after it was away: it may have lost what it confirmed last, as
   * a replica that takes the place of its master has. Before anything is read from it.
   */
  onReturn(listener: () => void): void;
  /** Fails what is waiting; nothing may be asked afterwards. */
  close(): void;
}

/** A command that was on its way when Redis stood still may run when it goes on, and only then would the lease begin. */
export const withdrawnMs = 60_000;

export interface CacheEntry {
  readonly key: string;
  readonly value: string;
  readonly ttlMs: number;
  /** The same value there already keeps its life, if that is longer. */
  readonly keepsLongerLife?: boolean;
}

/** A generation that an entry names. */
export interface Claim {
  readonly key: string;
  readonly named: string;
  /** There was none when the making of the entry began. */
  readonly isNew: boolean;
}

/**
 * How long a renewal is remembered where there was no generation. Who began to make an entry when there was none must have
 * stored it by then: later it could not see that there was a renewal meanwhile.
 */
export const renewalMs = 60_000;

/**
 * A generation for what is about to be stored. Generations are random, never counted: one that is made after a loss of data
 * must not be one that was there before.
 */
export function newGeneration(): string {
  return `g${randomBytes(6).toString("base64url")}`;
}

/** A generation that ends what was stored before. */
export function renewedGeneration(): string {
  return `r${randomBytes(6).toString("base64url")}`;
}

/** What the store has under the key of a generation; "" for none, and for what is no generation of ours. */
export function readGeneration(text: string | undefined): string {
  return text !== undefined && isGeneration(text) ? text : "";
}

/** Of any kind. */
export function isGeneration(text: string): boolean {
  return /^[\w-]{1,16}$/.test(text);
}

/** Was this generation made for an entry, and not to end one? Then nothing was ended since it exists. */
export function isFirstGeneration(generation: string): boolean {
  return generation.startsWith("g");
}

export interface Lease {
  /** 0: it is yours. Otherwise somebody has it for so many milliseconds more, and tells when the value is there. */
  readonly waitMs: number;
  /** What is stored there now. */
  readonly value: string | undefined;
}

/** How the making of a value ended. */
export type Settlement =
  | { readonly outcome: "filled"; readonly value: string; readonly ttlMs: number }
  /** It made nothing; that is the answer for all who wait, and not kept. */
  | { readonly outcome: "nothing" }
  /** It made what cannot be kept: who waits makes their own. */
  | { readonly outcome: "unkept" }
  /** It failed: one of those who wait takes over. */
  | { readonly outcome: "failed" };

/** The channel on which processes tell each other of deleted and made values. */
export const cacheChannel = "cache";

export type CacheNews = Settlement["outcome"] | "deleted";

const letters = { filled: "f", nothing: "u", unkept: "n", failed: "x", deleted: "d" } as const;
const newsOf: ReadonlyMap<string | undefined, CacheNews> = new Map(
  Object.entries(letters).map(([news, letter]) => [letter, news as CacheNews]),
);

/** How a message ends; before that come the key and a blank. */
export function letterOf(news: CacheNews): string {
  return letters[news];
}

export function readNews(message: string): { readonly key: string; readonly news: CacheNews } | undefined {
  const news = newsOf.get(message.at(-1));
  return news === undefined || message.at(-2) !== " " ? undefined : { key: message.slice(0, -2), news };
}

/** Who wants to know when keys with a prefix change. */
export interface SignalledPrefix {
  readonly prefix: string;
  /** This key was written, deleted, expired or evicted. */
  invalidate(key: string): void;
  /** Any key may have changed unheard. */
  flush(): void;
}

/** What a process hears of what others do to the cache. */
export interface CacheSignals {
  readonly channels: Channels;
  track(tracked: SignalledPrefix): void;
  /** Has everything been heard that changed longer than this ago? */
  isAlive(withinMs: number): boolean;
}
