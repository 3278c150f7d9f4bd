import type { Keyspace } from "../store/keyspace.js";
import type { CacheStore } from "../store/ports/cache.js";
import type { Codecs, StoredEntry } from "./entry.js";
import { CachedEntry, maxHeadLength, readEntry, writeEntry } from "./entry.js";
import type { Generation, Generations, GenerationSnapshot, GenerationsRead } from "./generations.js";
import { noGenerationsAsked, versionOf } from "./generations.js";
import type { ResolvedCache } from "./options.js";
import type { Region } from "./regions.js";
import { steadyNow } from "../lib/steady-clock.js";

export interface EntriesOptions {
  readonly store: Pick<CacheStore, "now">;
  readonly keys: Keyspace;
  readonly options: Pick<ResolvedCache, "maxValueSize" | "local" | "copies">;
  readonly codecs: Codecs;
  readonly generations: Generations;
}

/** A value that is about to be stored. */
export interface NewEntry {
  readonly key: string;
  /** The letter of the codec; `0` for an entry that says that there is nothing. */
  readonly letter: string;
  readonly payload: string;
  readonly freshMs: number;
  readonly graceMs: number;
  readonly tags: readonly string[];
}

/** An entry that this process has made, and its text in the store. */
export interface ComposedEntry {
  readonly stored: StoredEntry;
  readonly text: string;
  readonly ttlMs: number;
}

export type Awaitable<T> = T | Promise<T>;

const noGenerations: readonly Generation[] = [];

/** Turns values into entries, and text in the store into entries that are still good by their generations. */
export class Entries {
  readonly #store: Pick<CacheStore, "now">;
  readonly #keys: Keyspace;
  readonly #options: EntriesOptions["options"];
  readonly #codecs: Codecs;
  readonly #generations: Generations;
  /** Entries that were created until then are not used; by the store's clock. */
  #distrustedUntil = Number.NEGATIVE_INFINITY;

  constructor({ store, keys, options, codecs, generations }: EntriesOptions) {
    this.#store = store;
    this.#keys = keys;
    this.#options = options;
    this.#codecs = codecs;
    this.#generations = generations;
  }

  /** Uses no entry that is stored now: any of them may be old, and this process cannot tell which. */
  distrust(): void {
    this.#distrustedUntil = this.#store.now();
  }

  /** The generations that entries of a region with these tags depend on. */
  generationsOf(region: Region, tags: readonly string[]): readonly Generation[] {
    const own = this.#generations.ofRegion(region);
    return tags.length === 0 ? own : [...own, ...this.generationsOfTags(tags)];
  }

  generationsOfTags(tags: readonly string[]): readonly Generation[] {
    return tags.length === 0 ? noGenerations : tags.map((tag) => this.generationOfTag(this.#keys.identifier(tag)));
  }

  /** The generation of a tag, by the identifier that keys have for the tag. */
  generationOfTag(identifier: string): Generation {
    return this.#generations.get(this.#keys.cacheGeneration(`t:${identifier}`));
  }

  /** An entry from its text; undefined if it is not good any more. `read` has generations that came with the text. */
  read(
    region: Region,
    text: string | undefined,
    askedAt: number,
    read: GenerationsRead = noGenerationsAsked.learned,
  ): Awaitable<CachedEntry | undefined> {
    if (text === undefined || text.length > this.#options.maxValueSize + maxHeadLength) return undefined;
    const stored = readEntry(text);
    if (stored === undefined || stored.createdAt <= this.#distrustedUntil) return undefined;
    const now = steadyNow();
    const own = this.#generations.snapshotOfRegion(region, now);
    if (stored.tags.length === 0 && read.generations === own.generations)
      return this.#validate(region, stored, read, read, askedAt, now);
    const ofTags = stored.tags.map(([tag]) => this.generationOfTag(tag));
    const all = ofTags.length === 0 ? own.generations : [...own.generations, ...ofTags];
    const snapshot = { generations: all, versions: versionsOf(all, read) };
    const unknown = this.#generations.unknownOf(all, read.generations);
    if (unknown.length === 0) return this.#validate(region, stored, snapshot, read, askedAt, now);
    return this.#generations
      .read(unknown, read)
      .then((more) =>
        this.#validate(
          ...([region, stored, { generations: all, versions: versionsOf(all, more) }, more, askedAt] as const),
          steadyNow(),
        ),
      );
  }

  /** The entry, if its generations are the current ones, its value can be read, and it has not expired. */
  #validate(
    region: Region,
    stored: StoredEntry,
    snapshot: GenerationSnapshot,
    read: GenerationsRead,
    askedAt: number,
    now: number,
  ): CachedEntry | undefined {
    const { generations } = snapshot;
    const own = generations.length - stored.tags.length;
    let joined = "";
    for (let index = 0; index < generations.length; index += 1) {
      const generation = generations[index];
      const value = generation === undefined ? undefined : valueOf(generation, read);
      if (generation === undefined || value === undefined || this.#generations.isRenewalPending(generation))
        return undefined;
      if (index < own) joined = index === 0 ? value : `${joined}.${value}`;
      else if (stored.tags[index - own]?.[1] !== value) return undefined;
    }
    if (joined !== stored.generations) return undefined;
    const entry = this.create(region, stored, snapshot, askedAt, now);
    return entry.isReadable && now < entry.usableUntil ? entry : undefined;
  }

  create(
    { tracked }: Region,
    stored: StoredEntry,
    { generations, versions }: GenerationSnapshot,
    askedAt: number,
    now: number = steadyNow(),
  ): CachedEntry {
    const { local, copies } = this.#options;
    return new CachedEntry({
      stored,
      codecs: this.#codecs,
      isShared: local !== undefined && !copies,
      askedAt,
      offsetMs: this.#store.now() - now,
      trustMs: local?.ttlMs ?? 0,
      tracked,
      generations,
      versions,
    });
  }

  /** An entry that is created now. Without values of generations it is good in this process alone. */
  compose(region: Region, entry: NewEntry, values: readonly string[]): ComposedEntry {
    const { letter, payload, freshMs, graceMs, tags } = entry;
    const own = region.generationKeys.length;
    const stored: StoredEntry = {
      letter,
      payload,
      createdAt: this.#store.now(),
      freshMs,
      graceMs,
      generations: values.slice(0, own).join("."),
      tags: tags.map((tag, index) => [this.#keys.identifier(tag), values[own + index] ?? ""]),
    };
    return { stored, text: writeEntry(stored, payload), ttlMs: freshMs + graceMs };
  }
}

/** A value that came with the text is as old as the text. A value that the process knows may be newer. */
function valueOf(generation: Generation, { generations, values }: GenerationsRead): string | undefined {
  const index = generations.indexOf(generation);
  return index === -1 ? generation.value : values[index];
}

/** The versions that belong to the values. A generation that has changed since the read has a newer version. */
function versionsOf(all: readonly Generation[], read: GenerationsRead): readonly number[] {
  if (read.generations.length === 0) return all.map(versionOf);
  return all.map((generation) => read.versions[read.generations.indexOf(generation)] ?? generation.version);
}
