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
  /** Puts a new generation under each key, whatever was there. */
  renewGenerations(keys: readonly string[], ttlMs: number): Promise<void>;
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
  /** Fails what is waiting; nothing may be asked afterwards. */
  close(): void;
}

/** A command that was on its way when Redis stood still may run when it goes on, and only then would the lease begin. */
export const withdrawnMs = 60_000;

export interface CacheEntry {
  readonly key: string;
  readonly value: string;
  readonly ttlMs: number;
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
