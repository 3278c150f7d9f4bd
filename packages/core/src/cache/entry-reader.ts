import type { ResolvedCache } from "./options.js";
import type { CacheStore } from "../store/ports/cache.js";
import type { Keyspace } from "../store/keyspace.js";
import { CachedEntry } from "./cached-entry.js";
import type { Codecs } from "./codec.js";
import type { StoredEntry } from "./entry.js";
import { longestHead, readEntry } from "./entry.js";
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
  readonly epochs: readonly number[];
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
  generationsOf(place: Region, tags: readonly string[]): readonly Generation[] {
    const own = this.#generations.of(place);
    return tags.length === 0 ? own : [...own, ...tags.map((tag) => this.tagged(this.#keys.identifier(tag)))];
  }

  /** The generation of a tag, by its name in keys. */
  tagged(identifier: string): Generation {
    return this.#generations.named(this.#keys.cacheGeneration(`t:${identifier}`));
  }

  /** An entry that still counts, from its text. `said` has generations that the store has just told. */
  interpret(
    place: Region,
    text: string | undefined,
    askedAt: number,
    said: GenerationsRead = noGenerationsRead,
  ): Awaitable<CachedEntry | undefined> {
    if (text === undefined || text.length > this.#options.maxValueSize + longestHead) return undefined;
    const stored = readEntry(text);
    if (stored === undefined || stored.createdAt <= this.#distrustedUntil) return undefined;
    const own = this.#generations.of(place);
    const all = stored.tags.length === 0 ? own : [...own, ...stored.tags.map(([tag]) => this.tagged(tag))];
    const stand = { generations: all, epochs: epochsOf(all, said) };
    const unknown = this.unknown(all, said.generations);
    if (unknown.length === 0) return this.#judge(place, stored, stand, said, askedAt);
    return this.#ask(unknown, said).then((more) =>
      this.#judge(place, stored, { generations: all, epochs: epochsOf(all, more) }, more, askedAt),
    );
  }

  /** Does it stand by the generations there are? */
  #judge(
    place: Region,
    stored: StoredEntry,
    stand: GenerationSnapshot,
    said: GenerationsRead,
    askedAt: number,
  ): CachedEntry | undefined {
    const { generations } = stand;
    const own = generations.length - stored.tags.length;
    let stamp = "";
    for (let index = 0; index < generations.length; index += 1) {
      const one = generations[index];
      const value = one === undefined ? undefined : valueOf(one, said);
      if (one === undefined || value === undefined || this.#generations.isMissed(one)) return undefined;
      if (index < own) stamp = index === 0 ? value : `${stamp}.${value}`;
      else if (stored.tags[index - own]?.[1] !== value) return undefined;
    }
    if (stamp !== stored.stamp) return undefined;
    const entry = this.entryOf(place, stored, stand, askedAt);
    return entry.isReadable && performance.now() < entry.usableUntil ? entry : undefined;
  }

  entryOf(
    { tracked }: Region,
    stored: StoredEntry,
    { generations, epochs }: GenerationSnapshot,
    askedAt: number,
  ): CachedEntry {
    const { local, copies } = this.#options;
    return new CachedEntry({
      stored,
      codecs: this.#codecs,
      shares: local !== undefined && !copies,
      askedAt,
      offsetMs: this.#store.now() - performance.now(),
      trustMs: local?.ttlMs ?? 0,
      tracked,
      generations,
      epochs,
    });
  }

  /** Those that the store must be asked for: mostly none or all, and then no list is made. */
  unknown(all: readonly Generation[], said: readonly Generation[] = noGenerations): readonly Generation[] {
    let count = 0;
    for (const one of all) if (this.#isUnknown(one, said)) count += 1;
    if (count === 0) return noGenerations;
    return count === all.length ? all : all.filter((one) => this.#isUnknown(one, said));
  }

  #isUnknown(one: Generation, said: readonly Generation[]): boolean {
    return !said.includes(one) && !this.#generations.isKnown(one);
  }

  /** What the store says of generations, and what it has said already. */
  async #ask(unknown: readonly Generation[], said: GenerationsRead): Promise<GenerationsRead> {
    const epochs = unknown.map(epochOf);
    const values = await this.#store.getMany(unknown.map(keyOf));
    const told = this.learn(unknown, epochs, values);
    return {
      generations: [...said.generations, ...unknown],
      epochs: [...said.epochs, ...told.epochs],
      values: [...said.values, ...values],
    };
  }

  /** Takes in what the store said of generations that were asked for in these epochs. */
  learn(
    generations: readonly Generation[],
    epochs: readonly number[],
    values: GenerationsRead["values"],
  ): GenerationsRead {
    const known = generations.map((one, index) => this.#generations.learn(one, values[index], epochs[index] ?? -1));
    return { generations, epochs: known, values };
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

export function epochOf({ epoch }: Generation): number {
  return epoch;
}

const noGenerations: readonly Generation[] = [];
export const noGenerationsRead: GenerationsRead = { generations: noGenerations, epochs: [], values: [] };

/** An entry that was read with a generation that has changed meanwhile must not stand by what it is now. */
function epochsOf(all: readonly Generation[], said: GenerationsRead): readonly number[] {
  if (said.generations.length === 0) return all.map(epochOf);
  return all.map((one) => said.epochs[said.generations.indexOf(one)] ?? one.epoch);
}
