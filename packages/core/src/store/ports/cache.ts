import { randomBytes } from "node:crypto";
import type { Channels } from "./channels.js";

/**
 * The port of the cache: values as text, the generations that make values misses, and the leases of factory runs. Every
 * method rejects with a StoreFault if the store cannot answer.
 */
export interface CacheStore {
  /** The time in milliseconds, by the clock of the store: all processes share it. */
  now(): number;
  /** Resolves to one text for each key; undefined is a miss. */
  getMany(keys: readonly string[]): Promise<readonly (string | undefined)[]>;
  /** Reads a key, and others along with it. Throws nothing: a fault of the store is passed to the read. */
  read(read: CacheRead): void;
  /** Stores values, and ends the leases of their keys: a value that is still being made is older. */
  setMany(entries: readonly CacheEntry[]): Promise<void>;
  /** Deletes values, ends the leases of their keys, and tells all processes. */
  deleteMany(keys: readonly string[]): Promise<void>;
  /**
   * Resolves to the generation under each key, and creates the missing ones. Each lives for at least `ttlMs` from now.
   */
  ensureGenerations(keys: readonly string[], ttlMs: number): Promise<string[]>;
  /**
   * Replaces the generation under each key. Its remaining life stays, and is at least {@link renewalMs}. Tells all processes
   * that a generation which existed is gone.
   */
  renewGenerations(keys: readonly string[]): Promise<void>;
  /**
   * Stores entries that name generations, if each generation is the same as when the factory began. A generation that
   * did not exist then is created, until `untilMs` by the store's clock. Each generation lives at least as long as the
   * entries. Resolves to the generation under each key, or "" for none. The entries are stored if all of them are the
   * named ones.
   */
  keep(entries: readonly CacheEntry[], claims: readonly GenerationClaim[], untilMs: number): Promise<string[]>;
  /** Asks for the lease of a key: the right to make its value, for `ms`. `force` takes the lease from another owner. */
  lease(key: string, owner: string, ms: number, force?: boolean): Promise<Lease>;
  /** Extends a lease to `ms` from now. Resolves to false if the lease is lost. */
  extend(key: string, owner: string, ms: number): Promise<boolean>;
  /**
   * Ends a lease, stores the value, and tells the waiting processes. Resolves to false, and stores nothing, if the
   * lease was lost.
   */
  endLease(key: string, owner: string, settlement: LeaseOutcome): Promise<boolean>;
  /**
   * Ends a lease whose request was not answered. The request may still be on its way: for {@link withdrawnMs} the store
   * grants no lease to this owner.
   */
  withdraw(key: string, owner: string): Promise<void>;
  /**
   * Calls the listener whenever the store is reachable again, before the first read. The store may have lost its last
   * writes, as a replica has that is promoted.
   */
  onReturn(listener: () => void): void;
  /** Rejects every call that waits. No call may follow. */
  close(): void;
}

/** How long a withdrawal is remembered. A command that was sent while Redis was paused may run much later. */
export const withdrawnMs = 60_000;

/** A key to read, and the keys that are read along with it. */
export interface CacheQuestion {
  readonly storeKey: string | undefined;
  readonly along: readonly string[];
}

/**
 * A read of a key. The store calls one of the methods, once. They are methods, and no promise resolves, since every hit in
 * the store takes this way.
 */
export interface CacheRead extends CacheQuestion {
  readonly storeKey: string;
  /**
   * @param text undefined is a miss
   * @param along the texts of the keys of `along`; reads of one moment that passed the same list may get the same list
   */
  answer(text: string | undefined, along: readonly (string | undefined)[]): void;
  fail(fault: unknown): void;
}

export interface CacheEntry {
  readonly key: string;
  readonly value: string;
  readonly ttlMs: number;
  /** If the stored value is the same and lives longer, its life stays. */
  readonly keepsLongerLife?: boolean;
}

/** A generation that an entry names. */
export interface GenerationClaim {
  readonly key: string;
  readonly named: string;
  /** There was no generation when the factory began. */
  readonly isNew: boolean;
}

/**
 * How long a renewed generation lives where there was none before. A factory that began without a generation must store
 * its entry within this time: later it could not detect the renewal.
 */
export const renewalMs = 60_000;

/**
 * Creates a generation for an entry. Generations are random, not counted: after a loss of data a counter would repeat
 * former generations.
 */
export function newGeneration(): string {
  return `g${randomBytes(6).toString("base64url")}`;
}

/** Creates a generation that makes all earlier entries misses. */
export function renewedGeneration(): string {
  return `r${randomBytes(6).toString("base64url")}`;
}

/** Reads a stored generation. Returns "" for none, and for text that is not a generation. */
export function readGeneration(text: string | undefined): string {
  return text !== undefined && isGeneration(text) ? text : "";
}

/** Is this text a generation of either kind? */
export function isGeneration(text: string): boolean {
  return /^[\w-]{1,16}$/.test(text);
}

/** Was this generation created for an entry? Then there was no renewal since. */
export function isFirstGeneration(generation: string): boolean {
  return generation.startsWith("g");
}

export interface Lease {
  /**
   * 0 if the lease is granted. Otherwise the remaining milliseconds of the lease of another owner, who will tell its
   * end.
   */
  readonly waitMs: number;
  /** The value that is stored now. */
  readonly value: string | undefined;
}

/** The end of a factory run. */
export type LeaseOutcome =
  | { readonly outcome: "filled"; readonly value: string; readonly ttlMs: number }
  /** The factory returned undefined. All waiting calls get undefined, and nothing is stored. */
  | { readonly outcome: "nothing" }
  /** The value cannot be stored. Each waiting call runs its own factory. */
  | { readonly outcome: "unkept" }
  /** The factory failed. One of the waiting calls takes over. */
  | { readonly outcome: "failed" };

/** The channel with messages about deleted values and ended factory runs. */
export const cacheChannel = "cache";

export type CacheEvent = LeaseOutcome["outcome"] | "deleted";

const letters = { filled: "f", nothing: "u", unkept: "n", failed: "x", deleted: "d" } as const;
const newsOf: ReadonlyMap<string | undefined, CacheEvent> = new Map(
  Object.entries(letters).map(([news, letter]) => [letter, news as CacheEvent]),
);

/** The last letter of a message. Before it come the key and a blank. */
export function eventLetter(news: CacheEvent): string {
  return letters[news];
}

/** Reads a message. Undefined for any other text. */
export function readEvent(message: string): { readonly key: string; readonly news: CacheEvent } | undefined {
  const news = newsOf.get(message.at(-1));
  return news === undefined || message.at(-2) !== " " ? undefined : { key: message.slice(0, -2), news };
}

/** A listener for changes of all keys with a prefix. */
export interface SignalledPrefix {
  readonly prefix: string;
  /** The key was written, was deleted, has expired, or was evicted. */
  invalidate(key: string): void;
  /** Any key may have changed without a message: forget all keys, and those that are being read. */
  flush(): void;
}

/** Changes that other processes make to the cache. */
export interface CacheSignals {
  readonly channels: Channels;
  track(tracked: SignalledPrefix): void;
  /** Has every change been received that is older than this? */
  isAlive(withinMs: number): boolean;
}
