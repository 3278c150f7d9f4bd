import { LRUCache } from "lru-cache";
import type { Invalidations } from "../cache/invalidations.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheEntry, Claim } from "../store/ports/cache.js";
import { isFirstGeneration, newGeneration, readGeneration, renewalMs } from "../store/ports/cache.js";
import type { CacheStore } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { StoredResponse, VaryRecord } from "./stored-response.js";
import { decodeRecord, encodeResponse, encodeVary } from "./stored-response.js";
import { pathPrefix, tagName } from "./tags.js";

/** What was found for a request, and what a response made for it must remember. */
export interface LookupResult {
  readonly response: StoredResponse | undefined;
  /** Are there responses, but for other values of the fields that choose? */
  readonly hasVariants: boolean;
  /** The generation of each tag, as far as this process knows; "" where there is none. */
  readonly generations: StoredResponse["generations"];
  /** Did the store answer? Without it nothing can be stored either. */
  readonly storeAnswered: boolean;
  /** The fields that choose, as far as known. */
  readonly vary: readonly string[];
  /** When the store was asked; by the monotonic clock of this process. */
  readonly askedAt: number;
  /** The last purge of each tag by this process, as a number in their order. */
  readonly purges: readonly number[];
}

/** What a handler went by when it began to make a response. */
export type MakingStart = Pick<LookupResult, "generations" | "askedAt" | "purges">;

export interface Lookup {
  readonly primary: string;
  /** The key for the values that the request has in these fields. */
  readonly variant: (vary: readonly string[]) => string;
  readonly tags: readonly string[];
}

export interface ResponseStoreOptions {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly onFault: (fault: StoreFault) => void;
  /** Purges on their way into the store; those of the cache's tags too. */
  readonly renewals: Invalidations;
  /** Milliseconds of a monotonic clock. @default performance.now */
  readonly monotonic?: () => number;
}

/** Longer than this nothing is kept. */
const maxTtlMs = 30 * 86_400_000;

/**
 * How long a handler may run that began when a tag had no generation, and still have its response stored or shared: the store
 * remembers a purge for a little longer.
 */
const maxMakingMs = renewalMs - 5000;

/** Other responses with the same tags may be stored meanwhile, and each may make one generation. */
const maxAttempts = 3;

/** Purges of this process that it remembers by their tag. */
const maxPurges = 10_000;

/**
 * Responses in the cache store. A tag has a random generation, which a purge replaces; a response is good only while all its
 * tags have the generations that it names: those from before its handler ran, so that one made while a purge happened is ended
 * too. A generation that is lost is a miss, and nothing of a URL lives longer than its longest variant.
 */
export class ResponseStore {
  readonly #store: CacheStore;
  readonly #keys: Keyspace;
  readonly #onFault: (fault: StoreFault) => void;
  readonly #renewals: Invalidations;
  readonly #monotonic: () => number;
  /** The fields that choose, by primary key, so that a response and what leads to it are one read. */
  readonly #varyFields = new LRUCache<string, readonly string[]>({ max: 10_000 });
  /** What was stored until then is not used; by the clock of the store. */
  #distrustedUntil = Number.NEGATIVE_INFINITY;
  /**
   * The last purge of each tag that this process made, as a number in their order: the store may lose what it knows of one,
   * or be away when it is asked.
   */
  readonly #purged = new LRUCache<string, number>({
    max: maxPurges,
    dispose: (purge, _key, reason) => {
      if (reason === "evict") this.#lastForgotten = purge;
    },
  });
  #purges = 0;
  /** The last purge that was forgotten. */
  #lastForgotten = 0;

  constructor(options: ResponseStoreOptions) {
    const { store, keys, onFault, renewals, monotonic = () => performance.now() } = options;
    this.#store = store;
    this.#keys = keys;
    this.#onFault = onFault;
    this.#renewals = renewals;
    this.#monotonic = monotonic;
    renewals.listen({
      changed: (key) => this.#purged.set(key, (this.#purges += 1)),
      overflowed: () => (this.#distrustedUntil = store.now()),
    });
  }

  async find({ primary, variant, tags }: Lookup): Promise<LookupResult> {
    const known = this.#varyFields.get(primary) ?? [];
    const guess = variant(known);
    const tagKeys = tags.map((tag) => this.#tagKey(tag));
    const keys = [this.#entryKey(primary), ...tagKeys];
    if (guess !== primary) keys.push(this.#entryKey(guess));
    // Nothing is answered from the store before it has the purges that it missed.
    const isPurgedInStore = await this.#ensurePurged(tagKeys);
    const [askedAt, purges] = [this.#monotonic(), tagKeys.map((key) => this.#lastPurge(key))];
    const texts = isPurgedInStore ? await this.#read(keys) : undefined;
    const generations = tags.map((tag, index) => {
      return [tag, this.#renewals.tokenOf(tagKeys[index] ?? "") ?? readGeneration(texts?.[index + 1])] as const;
    });
    const storeAnswered = texts !== undefined;
    const found = { response: undefined, hasVariants: false, generations, storeAnswered, vary: known, askedAt, purges };
    const first = decodeRecord(texts?.[0]);
    if (first === undefined) return found;
    if (!isVaryRecord(first)) return { ...found, response: this.#currentOf(first, generations), vary: [] };
    const { vary } = first;
    this.#varyFields.set(primary, vary);
    const key = variant(vary);
    const text = key === guess ? texts?.at(-1) : (await this.#read([this.#entryKey(key)]))?.[0];
    const second = decodeRecord(text);
    const response = second === undefined || isVaryRecord(second) ? undefined : this.#currentOf(second, generations);
    return { ...found, response, hasVariants: true, vary };
  }

  /**
   * Keeps a response, unless one of its tags was purged since its handler began, or the handler ran too long to tell. While
   * the store is down it is not kept.
   */
  async keep(
    lookup: Omit<Lookup, "tags">,
    response: StoredResponse,
    seconds: number,
    start: MakingStart,
  ): Promise<void> {
    const ttlMs = Math.min(seconds * 1000, maxTtlMs);
    if (!(ttlMs > 0) || this.isPurged(start)) return;
    let claims = response.generations.map(([tag, began]) => {
      return { key: this.#tagKey(tag), named: began === "" ? newGeneration() : began, isNew: began === "" };
    });
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const leftMs = maxMakingMs - (this.#monotonic() - start.askedAt);
      if (leftMs <= 0 && claims.some(({ isNew }) => isNew)) return;
      const named = response.generations.map(([tag], index) => [tag, claims[index]?.named ?? ""] as const);
      const entries = this.#entries(lookup, { ...response, generations: named }, ttlMs);
      const found = await this.#store.keep(entries, claims, this.#store.now() + leftMs).catch(this.report);
      if (found === undefined || claims.every((claim, index) => claim.named === found[index])) return;
      // Another response with this tag may have been stored meanwhile; anything else that is there now, or is lost, ends it.
      if (!claims.every((claim, index) => claim.named === found[index] || mayAdopt(claim, found[index] ?? ""))) return;
      claims = claims.map((claim, index) => ({ ...claim, named: found[index] || claim.named }));
    }
  }

  /** A response, and in front of one that was chosen the fields by which it was. */
  #entries({ primary, variant }: Omit<Lookup, "tags">, response: StoredResponse, ttlMs: number): CacheEntry[] {
    const key = variant(response.vary);
    const entry = { key: this.#entryKey(key), value: encodeResponse(response), ttlMs };
    if (key === primary) return [entry];
    this.#varyFields.set(primary, response.vary);
    // As long as the longest-lived of those it leads to.
    return [{ key: this.#entryKey(primary), value: encodeVary(response), ttlMs, keepsLongerLife: true }, entry];
  }

  /** Ends every response with this tag. Rejects if the store missed it; this process then knows it all the same. */
  async purge(tag: string): Promise<void> {
    await this.#renewals.invalidate(this.#tagKey(tag));
  }

  /** Is a response that is made for one request as good for another, which found this? */
  isCurrentFor(response: StoredResponse, start: MakingStart, found: MakingStart): boolean {
    if (!isCurrent(response, found.generations)) return false;
    // Of a tag without a generation the store cannot tell that it was purged longer ago, or before the store went away.
    const isUnsure = response.generations.some(([, generation]) => generation === "");
    if (!isUnsure) return true;
    const isSoon = Math.abs(found.askedAt - start.askedAt) < maxMakingMs;
    return isSoon && start.purges.every((purge, index) => purge === found.purges[index]);
  }

  /** Has this process purged one of the tags since then? */
  isPurged({ generations, purges }: MakingStart): boolean {
    return generations.some(([tag], index) => this.#lastPurge(this.#tagKey(tag)) !== purges[index]);
  }

  #lastPurge(key: string): number {
    return this.#purges === 0 ? 0 : (this.#purged.peek(key) ?? this.#lastForgotten);
  }

  /** Does the store have all purges of these keys? */
  async #ensurePurged(tagKeys: readonly string[]): Promise<boolean> {
    if (!tagKeys.some((key) => this.#renewals.isPending(key))) return true;
    try {
      await this.#renewals.ensureApplied(tagKeys);
      return true;
    } catch (error) {
      this.report(error);
      return false;
    }
  }

  /** A response that was not purged since before it was made, as far as is known. */
  #currentOf(response: StoredResponse, now: StoredResponse["generations"]): StoredResponse | undefined {
    return response.storeMs > this.#distrustedUntil && isCurrent(response, now) ? response : undefined;
  }

  async #read(keys: readonly string[]): Promise<(string | undefined)[] | undefined> {
    try {
      return await this.#store.getMany(keys);
    } catch (error) {
      this.report(error);
      return undefined;
    }
  }

  /** The cache is a convenience: while its store is down, handlers answer. */
  readonly report = (error: unknown): void => {
    if (!(error instanceof StoreFault)) throw error;
    this.#onFault(error);
  };

  #entryKey(key: string): string {
    return this.#keys.cacheEntry("response", "", key);
  }

  /** A tag of the application's is that of the cache too: who ends one ends the other. */
  #tagKey(tag: string): string {
    const name = tagName(tag);
    return name === undefined
      ? this.#keys.cacheEntry(tag.startsWith(pathPrefix) ? "response-path" : "response-target", "", tag)
      : this.#keys.cacheGeneration(`t:${this.#keys.identifier(name)}`);
  }
}

function isVaryRecord(record: StoredResponse | VaryRecord): record is VaryRecord {
  return !("status" in record);
}

function mayAdopt({ isNew }: Claim, found: string): boolean {
  return isNew && (found === "" || isFirstGeneration(found));
}

/** Was none of a response's tags purged since before it was made? */
function isCurrent({ generations }: StoredResponse, now: StoredResponse["generations"]): boolean {
  const current = new Map(now);
  return generations.every(([tag, generation]) => current.get(tag) === generation);
}
