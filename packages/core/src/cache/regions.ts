import { LRUCache } from "lru-cache";
import type { Generation } from "./generation.js";

import type { Keyspace } from "../store/keyspace.js";
import type { CacheStatistics, NamespaceStatistics } from "../telemetry/cache-statistics.js";
import type { CachedEntry } from "./cached-entry.js";

/** Where a view keeps its entries: a namespace, of everybody, of a user or of a tenant. */
export interface Region {
  readonly scope: string;
  readonly path: string;
  /** Before a key: its name in this process. */
  readonly prefix: string;
  /** What is kept of it in process, once it has been looked for. */
  localRegion: LocalRegion | undefined;
  readonly tracked: boolean;
  /** Keys of the generations whose renewal empties this place, the widest first; the last one's empties no other. */
  readonly generationKeys: readonly string[];
  /** These generations as they were last looked up. */
  knownGenerations: readonly Generation[];
  lookedUpAt: number;
  readonly statistics: NamespaceStatistics;
}

/** The scope of what everybody may see. Others are `user:<id>` and `tenant:<id>`. */
export const sharedScope = "shared";

/** All places of a cache; each view of each request gets at one. */
export class Regions {
  readonly #keys: Keyspace;
  readonly #tracked: true | readonly string[];
  readonly #statistics: CacheStatistics;
  readonly #regions = new LRUCache<string, Region>({ max: 2000 });

  constructor(keys: Keyspace, tracked: true | readonly string[], statistics: CacheStatistics) {
    this.#keys = keys;
    this.#tracked = tracked;
    this.#statistics = statistics;
  }

  /** Of a scope, and a path of namespaces ("a.b"; "" for none). */
  at(scope: string, path: string): Region {
    const name = `${scope}:${path}`;
    const known = this.#regions.get(name);
    if (known !== undefined) return known;
    const namespaces = namespacesOf(path);
    const scoped = scope === sharedScope ? [] : namespaces.map((namespace) => `s:${scope}:${namespace}`);
    const region: Region = {
      scope,
      path,
      prefix: `${name}:`,
      localRegion: undefined,
      tracked: this.#tracked === true || this.#tracked.some((parent) => namespaces.includes(parent)),
      generationKeys: [...namespaces.map((namespace) => `n:${namespace}`), ...scoped].map((one) =>
        this.#keys.cacheGeneration(one),
      ),
      knownGenerations: [],
      lookedUpAt: Number.NEGATIVE_INFINITY,
      statistics: this.#statistics.of(path),
    };
    this.#regions.set(name, region);
    return region;
  }
}

/** A namespace and all around it: "", "a", "a.b". */
function namespacesOf(path: string): string[] {
  const names = path === "" ? [] : path.split(".");
  return ["", ...names.map((_, index) => names.slice(0, index + 1).join("."))];
}

/** An entry in process. */
export interface LocalEntry {
  readonly entry: CachedEntry;
  readonly storeKey: string;
  readonly key: string;
  readonly region: LocalRegion;
  touchedAt: number;
}

/** What is kept of a place, by key as it is: making up and hashing the key of the store takes longer than all the rest. */
export interface LocalRegion {
  readonly prefix: string;
  readonly entries: Map<string, LocalEntry>;
}
