import type { ResolvedCache } from "./options.js";
import type { CacheStore } from "../store/ports/cache.js";
import type { Keyspace } from "../store/keyspace.js";
import { CachedEntry } from "./cached-entry.js";
import type { Codecs } from "./codec.js";
import type { StoredEntry } from "./entry.js";
import { maxHeadLength, readEntry } from "./entry.js";
import type { Generations } from "./generations.js";
import type { Generation } from "./generation.js";
import type { Region } from "./regions.js";

export interface EntryReaderOptions {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly codecs: Codecs;
  readonly generations: Generations;
}

/** The generations of entries, and the epochs they were seen in. */
export interface GenerationSnapshot {
  readonly generations: readonly Generation[];
  readonly versions: readonly number[];
}

/** Generations that the store has just told, in the epochs they were asked for in. */
export interface GenerationsRead extends GenerationSnapshot {
  readonly values: readonly (string | undefined)[];
}

export type Awaitable<T> = T | Promise<T>;

/** Makes entries of what is in the store: those that still count by the generations they were made under. */
export class EntryReader {
  readonly #store: CacheStore;
  readonly #keys: Keyspace;
  readonly #options: ResolvedCache;
  readonly #codecs: Codecs;
  readonly #generations: Generations;
  /** What was created until then is not used; by the store's clock. */
  #distrustedUntil = Number.NEGATIVE_INFINITY;

  constructor({ store, keys, options, codecs, generations }: EntryReaderOptions) {
    this.#store = store;
    this.#keys = keys;
    this.#options = options;
    this.#codecs = codecs;
    this.#generations = generations;
  }

  /** Whatever is stored now may be old, and this process cannot tell what is. */
  distrust(): void {
    this.#distrustedUntil = this.#store.now();
  }

  /** The generations that entries of a place with these tags stand and fall with. */
  generationsOf(region: Region, tags: readonly string[]): readonly Generation[] {
    const own = this.#generations.ofRegion(region);
    return tags.length === 0 ? own : [...own, ...tags.map((tag) => this.generationOfTag(this.#keys.identifier(tag)))];
  }

  /** The generation of a tag, by its name in keys. */
  generationOfTag(identifier: string): Generation {
    return this.#generations.get(this.#keys.cacheGeneration(`t:${identifier}`));
  }

  /** An entry that still counts, from its text. `said` has generations that the store has just told. */
  read(
    region: Region,
    text: string | undefined,
    askedAt: number,
    generationsRead: GenerationsRead = noGenerationsRead,
  ): Awaitable<CachedEntry | undefined> {
    if (text === undefined || text.length > this.#options.maxValueSize + maxHeadLength) return undefined;
    const stored = readEntry(text);
    if (stored === undefined || stored.createdAt <= this.#distrustedUntil) return undefined;
    const own = this.#generations.ofRegion(region);
    const all = stored.tags.length === 0 ? own : [...own, ...stored.tags.map(([tag]) => this.generationOfTag(tag))];
    const snapshot = { generations: all, versions: versionsOf(all, generationsRead) };
    const unknownOf = this.unknownOf(all, generationsRead.generations);
    if (unknownOf.length === 0) return this.#validate(region, stored, snapshot, generationsRead, askedAt);
    return this.#readUnknown(unknownOf, generationsRead).then((more) =>
      this.#validate(region, stored, { generations: all, versions: versionsOf(all, more) }, more, askedAt),
    );
  }

  /** Does it stand by the generations there are? */
  #validate(
    region: Region,
    stored: StoredEntry,
    snapshot: GenerationSnapshot,
    generationsRead: GenerationsRead,
    askedAt: number,
  ): CachedEntry | undefined {
    const { generations } = snapshot;
    const own = generations.length - stored.tags.length;
    let joined = "";
    for (let index = 0; index < generations.length; index += 1) {
      const one = generations[index];
      const value = one === undefined ? undefined : valueOf(one, generationsRead);
      if (one === undefined || value === undefined || this.#generations.isRenewalPending(one)) return undefined;
      if (index < own) joined = index === 0 ? value : `${joined}.${value}`;
      else if (stored.tags[index - own]?.[1] !== value) return undefined;
    }
    if (joined !== stored.generations) return undefined;
    const entry = this.create(region, stored, snapshot, askedAt);
    return entry.isReadable && performance.now() < entry.usableUntil ? entry : undefined;
  }

  create(
    { tracked }: Region,
    stored: StoredEntry,
    { generations, versions }: GenerationSnapshot,
    askedAt: number,
  ): CachedEntry {
    const { local, copies } = this.#options;
    return new CachedEntry({
      stored,
      codecs: this.#codecs,
      isShared: local !== undefined && !copies,
      askedAt,
      offsetMs: this.#store.now() - performance.now(),
      trustMs: local?.ttlMs ?? 0,
      tracked,
      generations,
      versions,
    });
  }

  /** Those that the store must be asked for: mostly none or all, and then no list is made. */
  unknownOf(all: readonly Generation[], generationsRead: readonly Generation[] = noGenerations): readonly Generation[] {
    let count = 0;
    for (const one of all) if (this.#isUnknown(one, generationsRead)) count += 1;
    if (count === 0) return noGenerations;
    return count === all.length ? all : all.filter((one) => this.#isUnknown(one, generationsRead));
  }

  #isUnknown(one: Generation, generationsRead: readonly Generation[]): boolean {
    return !generationsRead.includes(one) && !this.#generations.isKnown(one);
  }

  /** What the store says of generations, and what it has said already. */
  async #readUnknown(unknownOf: readonly Generation[], generationsRead: GenerationsRead): Promise<GenerationsRead> {
    const versions = unknownOf.map(versionOf);
    const values = await this.#store.getMany(unknownOf.map(keyOf));
    const learned = this.learn(unknownOf, versions, values);
    return {
      generations: [...generationsRead.generations, ...unknownOf],
      versions: [...generationsRead.versions, ...learned.versions],
      values: [...generationsRead.values, ...values],
    };
  }

  /** Takes in what the store said of generations that were asked for in these epochs. */
  learn(
    generations: readonly Generation[],
    versions: readonly number[],
    values: GenerationsRead["values"],
  ): GenerationsRead {
    const known = generations.map((one, index) => this.#generations.update(one, values[index], versions[index] ?? -1));
    return { generations, versions: known, values };
  }
}

/** What the store has just told is as old as the text that came with it; what is known may be younger. */
function valueOf(generation: Generation, { generations, values }: GenerationsRead): string | undefined {
  const index = generations.indexOf(generation);
  return index === -1 ? generation.value : values[index];
}

export function keyOf({ key }: Generation): string {
  return key;
}

export function versionOf({ version }: Generation): number {
  return version;
}

const noGenerations: readonly Generation[] = [];
export const noGenerationsRead: GenerationsRead = { generations: noGenerations, versions: [], values: [] };

/** An entry that was read with a generation that has changed meanwhile must not stand by what it is now. */
function versionsOf(all: readonly Generation[], generationsRead: GenerationsRead): readonly number[] {
  if (generationsRead.generations.length === 0) return all.map(versionOf);
  return all.map((one) => generationsRead.versions[generationsRead.generations.indexOf(one)] ?? one.version);
}
