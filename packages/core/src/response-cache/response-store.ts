import { GrowingLru } from "../lib/growing-lru.js";
import { memoize } from "../lib/memoize.js";
import type { Invalidations } from "../cache/invalidations.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheEntry, GenerationClaim } from "../store/ports/cache.js";
import { isFirstGeneration, newGeneration, readGeneration, renewalMs } from "../store/ports/cache.js";
import type { CacheStore } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import type { StoredResponse, VaryRecord } from "./stored-response.js";
import { LocalResponses } from "./local-responses.js";
import type { LocalResponse, LocalResponsesOptions } from "./local-responses.js";
import { PurgeLog } from "./purge-log.js";
import { decodeRecord, encodeResponse, encodeVary } from "./stored-response.js";
import { pathPrefix, tagName } from "./tags.js";
import { steadyNow } from "../lib/steady-clock.js";

/** The result of a lookup, and the state that a response made after it must remember. */
export interface LookupResult {
  readonly response: StoredResponse | undefined;
  /** True if there are responses for other values of the `Vary` fields. */
  readonly hasVariants: boolean;
  /** The generation of each tag; "" for a tag without one. */
  readonly generations: StoredResponse["generations"];
  /** False if the store did not answer; then no response is stored either. */
  readonly storeAnswered: boolean;
  /** The known `Vary` fields. */
  readonly vary: readonly string[];
  /** The time of the lookup, by the monotonic clock of this process. */
  readonly askedAt: number;
  /** The number of the last purge of each tag by this process. */
  readonly purges: readonly number[];
  /** The number of the last purge that the tier in process knew then. */
  readonly localPurge: number;
}

/** The state when a handler began to make a response. */
export type HandlerStart = Pick<LookupResult, "generations" | "askedAt" | "purges">;

/** The keys and tags of a request. */
export interface Lookup {
  /** The cache key without `Vary`. */
  readonly primary: string;
  /** The cache key with the values that the request has in these fields. */
  readonly variant: (vary: readonly string[]) => string;
  readonly tags: readonly string[];
}

/** A request, as the tier in process sees it. */
export interface LocalLookup extends Lookup {
  /** The text of which {@link primary} is the digest: a key that costs less. */
  readonly text: string;
  readonly variantText: (vary: readonly string[]) => string;
}

export interface ResponseStoreOptions {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly onFault: (fault: StoreFault) => void;
  /** Purges on their way into the store, with those of `req.cache`. */
  readonly renewals: Invalidations;
  /** Milliseconds of a clock that does not jump. @default {@link steadyNow} */
  readonly monotonic?: () => number;
  /** The tier in process; undefined for none. */
  readonly local?: Pick<LocalResponsesOptions, "entries" | "bytes" | "ttlMs" | "channels"> | undefined;
}

/** The maximum time that a response is kept. */
const maxTtlMs = 30 * 86_400_000;

/**
 * How long a handler may run that began when a tag had no generation, for its response to be stored or shared. The store
 * remembers a purge for a little longer.
 */
const maxHandlerMs = renewalMs - 5000;

/** Other responses with the same tags may be stored meanwhile, and each may create the generation of a tag. */
const maxAttempts = 3;

/**
 * Responses in the cache store. A tag has a random generation, which a purge replaces. A response names the generations of its
 * tags from before its handler ran, and is used only while these are current; so a purge during the handler ends it, too.
 * A lost generation is a miss. The `Vary` record of a URL lives as long as its longest-lived response.
 */
export class ResponseStore {
  readonly #store: CacheStore;
  readonly #keys: Keyspace;
  readonly #onFault: (fault: StoreFault) => void;
  readonly #renewals: Invalidations;
  readonly #monotonic: () => number;
  readonly #entryKey: (key: string) => string;
  /** The known `Vary` fields by primary key, so that the `Vary` record and the response are one read. */
  readonly #varyFields = new GrowingLru<string, readonly string[]>({ max: 10_000 });
  /** Responses that were stored until then are not used; by the clock of the store. */
  #distrustedUntil = Number.NEGATIVE_INFINITY;
  /** The number of the last purge of each tag by this process: the store may lose a purge, or be down. */
  readonly #purged = new PurgeLog();
  /** Responses in this process, which requests ask first. */
  readonly local: LocalResponses | undefined;

  constructor(options: ResponseStoreOptions) {
    const { store, keys, onFault, renewals, monotonic = steadyNow } = options;
    this.#store = store;
    this.#keys = keys;
    this.#entryKey = keys.cacheEntries("response", "");
    this.#onFault = onFault;
    this.#renewals = renewals;
    this.#monotonic = monotonic;
    const generations = keys.generationPrefix();
    const isTagKey = (key: string): boolean =>
      key.startsWith(generations) ? key.includes("}:t:") : key.includes("}:response-");
    this.local =
      options.local === undefined ? undefined : new LocalResponses({ ...options.local, isTagKey, monotonic });
    renewals.listen({
      changed: (key) => {
        this.#purged.note(key);
        this.local?.end(key);
      },
      overflowed: () => {
        this.#distrustedUntil = store.now();
        this.local?.flush();
      },
    });
  }

  async find({ primary, variant, tags }: Lookup): Promise<LookupResult> {
    const known = this.#varyFields.get(primary) ?? [];
    const knownVariant = variant(known);
    const tagKeys = tags.map((tag) => this.#tagKey(tag));
    const keys = [this.#entryKey(primary), ...tagKeys];
    if (knownVariant !== primary) keys.push(this.#entryKey(knownVariant));
    // The store must have the purges that it missed before its responses are used.
    const isPurgedInStore = await this.#ensurePurged(tagKeys);
    const [askedAt, purges] = [this.#monotonic(), tagKeys.map((key) => this.#purged.lastOf(key))];
    const localPurge = this.local?.purges ?? 0;
    const texts = isPurgedInStore ? await this.#read(keys) : undefined;
    const generations = tags.map((tag, index) => {
      return [tag, this.#renewals.tokenOf(tagKeys[index] ?? "") ?? readGeneration(texts?.[index + 1])] as const;
    });
    const storeAnswered = texts !== undefined;
    const before = { generations, askedAt, purges, localPurge };
    const found = { ...before, response: undefined, hasVariants: false, storeAnswered, vary: known };
    const first = decodeRecord(texts?.[0]);
    if (first === undefined) return found;
    if (!isVaryRecord(first)) return { ...found, response: this.#currentOf(first, generations), vary: [] };
    const { vary } = first;
    this.#varyFields.set(primary, vary);
    const key = variant(vary);
    const text = key === knownVariant ? texts?.at(-1) : (await this.#read([this.#entryKey(key)]))?.[0];
    const second = decodeRecord(text);
    const response = second === undefined || isVaryRecord(second) ? undefined : this.#currentOf(second, generations);
    return { ...found, response, hasVariants: true, vary };
  }

  /**
   * Stores a response, unless one of its tags was purged since its handler began, or the handler ran so long that this is
   * unknown. Does nothing while the store is down.
   */
  async keep(
    lookup: Omit<Lookup, "tags">,
    response: StoredResponse,
    seconds: number,
    start: HandlerStart,
  ): Promise<void> {
    // Responses in process are older, and so are those that are being read.
    this.local?.end(lookup.primary);
    const ttlMs = Math.min(seconds * 1000, maxTtlMs);
    if (!(ttlMs > 0) || this.isPurged(start)) return;
    let claims = response.generations.map(([tag, generationBefore]) => {
      return {
        key: this.#tagKey(tag),
        named: generationBefore === "" ? newGeneration() : generationBefore,
        isNew: generationBefore === "",
      };
    });
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const leftMs = maxHandlerMs - (this.#monotonic() - start.askedAt);
      if (leftMs <= 0 && claims.some(({ isNew }) => isNew)) return;
      const named = response.generations.map(([tag], index) => [tag, claims[index]?.named ?? ""] as const);
      const entries = this.#entries(lookup, { ...response, generations: named }, ttlMs);
      const found = await this.#store.keep(entries, claims, this.#store.now() + leftMs).catch(this.report);
      this.local?.end(lookup.primary);
      if (found === undefined || claims.every((claim, index) => claim.named === found[index])) return;
      // Another response with the tag may have created its generation meanwhile; any other change is a purge or a loss.
      if (!claims.every((claim, index) => claim.named === found[index] || mayAdopt(claim, found[index] ?? ""))) return;
      claims = claims.map((claim, index) => ({ ...claim, named: found[index] || claim.named }));
    }
  }

  /** The entry of a response, and of its `Vary` record if it has one. */
  #entries({ primary, variant }: Omit<Lookup, "tags">, response: StoredResponse, ttlMs: number): CacheEntry[] {
    const key = variant(response.vary);
    const entry = { key: this.#entryKey(key), value: encodeResponse(response), ttlMs };
    if (key === primary) return [entry];
    this.#varyFields.set(primary, response.vary);
    // The record lives as long as the longest-lived response that it leads to.
    return [{ key: this.#entryKey(primary), value: encodeVary(response), ttlMs, keepsLongerLife: true }, entry];
  }

  /** Purges every response with this tag. Rejects if the store missed it; the purge takes effect in this process all the same. */
  async purge(tag: string): Promise<void> {
    await this.#renewals.invalidate(this.#tagKey(tag));
  }

  /** Keeps a response in process that was read from the store. */
  keepLocally(lookup: LocalLookup, response: StoredResponse, { askedAt, localPurge }: LookupResult): void {
    const keys = response.generations.map(([tag]) => this.#tagKey(tag));
    const { text, primary } = lookup;
    const variantText = lookup.variantText(response.vary);
    this.local?.keep({ text, variantText, response, keys: [...keys, primary], askedAt, purge: localPurge });
  }

  /** A response in process that may be current for the request, if the tags are the same. */
  findLocally(lookup: LocalLookup): LocalResponse | undefined {
    const first = this.local?.get(lookup.text);
    if (first === undefined || "response" in first) return first;
    const second = this.local?.get(lookup.variantText(first.vary));
    return second !== undefined && "response" in second ? second : undefined;
  }

  /** True if a response that was made for one request is current for another request with this lookup result. */
  isCurrentFor(response: StoredResponse, start: HandlerStart, found: HandlerStart): boolean {
    if (!isCurrent(response, found.generations)) return false;
    // For a tag without a generation, the store does not know of purges long ago, or before it lost its data.
    const isUnsure = response.generations.some(([, generation]) => generation === "");
    if (!isUnsure) return true;
    const isSoon = Math.abs(found.askedAt - start.askedAt) < maxHandlerMs;
    return isSoon && start.purges.every((purge, index) => purge === found.purges[index]);
  }

  /** True if this process has purged one of the tags since then. */
  isPurged({ generations, purges }: HandlerStart): boolean {
    return generations.some(([tag], index) => this.#purged.lastOf(this.#tagKey(tag)) !== purges[index]);
  }

  /** True once the store has all purges of these keys. */
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

  /** The response, if none of its tags was purged since before it was made. */
  #currentOf(response: StoredResponse, now: StoredResponse["generations"]): StoredResponse | undefined {
    return response.storeMs > this.#distrustedUntil && isCurrent(response, now) ? response : undefined;
  }

  async #read(keys: readonly string[]): Promise<readonly (string | undefined)[] | undefined> {
    try {
      return await this.#store.getMany(keys);
    } catch (error) {
      this.report(error);
      return undefined;
    }
  }

  /** Reports a fault of the store. Handlers answer while it is down. */
  readonly report = (error: unknown): void => {
    if (!(error instanceof StoreFault)) throw error;
    this.#onFault(error);
  };

  /** A tag of the application shares its generation with `req.cache`, so that a purge ends the entries of both. */
  readonly #tagKey = memoize((tag: string): string => {
    const name = tagName(tag);
    return name === undefined
      ? this.#keys.cacheEntry(tag.startsWith(pathPrefix) ? "response-path" : "response-target", "", tag)
      : this.#keys.cacheGeneration(`t:${this.#keys.identifier(name)}`);
  });
}

function isVaryRecord(record: StoredResponse | VaryRecord): record is VaryRecord {
  return !("status" in record);
}

function mayAdopt({ isNew }: GenerationClaim, found: string): boolean {
  return isNew && (found === "" || isFirstGeneration(found));
}

/** True if all generations of the response are the current ones. */
function isCurrent({ generations }: StoredResponse, now: StoredResponse["generations"]): boolean {
  const current = new Map(now);
  return generations.every(([tag, generation]) => current.get(tag) === generation);
}
