import { GrowingLru } from "../lib/growing-lru.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheStatistics, NamespaceStatistics } from "../telemetry/cache-statistics.js";
import type { RegionGenerations } from "./generations.js";
import { noGenerationsAsked } from "./generations.js";
import type { LocalRegionHolder } from "./local-tier.js";

/** The entries of one cache view: a namespace, of everybody, of a user or of a tenant. */
export interface Region extends LocalRegionHolder, RegionGenerations {
  readonly scope: string;
  readonly path: string;
  readonly tracked: boolean;
  readonly storeKeyOf: (key: string) => string;
  readonly statistics: NamespaceStatistics;
}

/** The scope that everybody may read. Other scopes are `user:<id>` and `tenant:<id>`. */
export const sharedScope = "shared";

/** All regions of a cache, kept: each view of each request needs one. */
export class Regions {
  readonly #keys: Keyspace;
  readonly #tracked: true | readonly string[];
  readonly #statistics: CacheStatistics;
  readonly #regions = new GrowingLru<string, Region>({ max: 2000 });

  constructor(keys: Keyspace, tracked: true | readonly string[], statistics: CacheStatistics) {
    this.#keys = keys;
    this.#tracked = tracked;
    this.#statistics = statistics;
  }

  /** The region of a scope and a path of namespaces: "a.b", or "" for none. */
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
      storeKeyOf: this.#keys.cacheEntries(scope, path),
      tracked: this.#tracked === true || this.#tracked.some((parent) => namespaces.includes(parent)),
      generationKeys: [...namespaces.map((namespace) => `n:${namespace}`), ...scoped].map((generation) =>
        this.#keys.cacheGeneration(generation),
      ),
      lastGenerations: noGenerationsAsked,
      lookedUpAt: Number.NEGATIVE_INFINITY,
      statistics: this.#statistics.of(path),
    };
    this.#regions.set(name, region);
    return region;
  }
}

/** A namespace and the namespaces around it, outermost first: "", "a", "a.b". */
function namespacesOf(path: string): string[] {
  const names = path === "" ? [] : path.split(".");
  return ["", ...names.map((_, index) => names.slice(0, index + 1).join("."))];
}
