import { events } from "./events.js";
import type { Metric, Sample } from "./metrics.js";

/** The answer of a cache read: by the memo of the request, by this process, by the store, with a stale value, or a miss. */
export type CacheOutcome = "memo" | "local" | "store" | "stale" | "miss";

/** Maximum number of namespaces with statistics. Further ones are counted as "other": names may be made of users' text. */
const maxNamespaces = 100;

/** The statistics of one namespace. */
export class NamespaceStatistics {
  readonly namespace: string;
  readonly #gate: string;
  readonly reads: Record<CacheOutcome, number> = { memo: 0, local: 0, store: 0, stale: 0, miss: 0 };
  made = 0;
  failed = 0;
  /** Run time of all factories, including failed ones. */
  factorySeconds = 0;

  constructor(namespace: string, gate: string) {
    this.namespace = namespace;
    this.#gate = gate;
  }

  count(outcome: CacheOutcome): void {
    this.reads[outcome] += 1;
    if (!events.cacheRead.hasSubscribers) return;
    events.cacheRead.publish({ gate: this.#gate, namespace: this.namespace, outcome });
  }

  factoryEnded(durationMs: number, failed: boolean): void {
    if (failed) this.failed += 1;
    else this.made += 1;
    this.factorySeconds += durationMs / 1000;
    if (!events.cacheFactory.hasSubscribers) return;
    const outcome = failed ? "failed" : "made";
    events.cacheFactory.publish({ gate: this.#gate, namespace: this.namespace, outcome, durationMs });
  }
}

/** The statistics of a cache by namespace. The number of labels is bounded. */
export class CacheStatistics {
  readonly #gate: string;
  readonly #namespaces = new Map<string, NamespaceStatistics>();

  constructor(gate = "default") {
    this.#gate = gate;
  }

  of(path: string): NamespaceStatistics {
    const wanted = path === "" ? "default" : path;
    const name = this.#namespaces.size < maxNamespaces || this.#namespaces.has(wanted) ? wanted : "other";
    const known = this.#namespaces.get(name);
    if (known !== undefined) return known;
    const made = new NamespaceStatistics(name, this.#gate);
    this.#namespaces.set(name, made);
    return made;
  }

  read(): Metric[] {
    const all = [...this.#namespaces.values()];
    const reads = all.flatMap(({ namespace, reads: counts }) =>
      Object.entries(counts).map(([outcome, value]) => sample({ namespace, outcome }, value)),
    );
    const calls = all.flatMap(({ namespace, made, failed }) => [
      sample({ namespace, outcome: "made" }, made),
      sample({ namespace, outcome: "failed" }, failed),
    ]);
    const seconds = all.map(({ namespace, factorySeconds }) => sample({ namespace }, factorySeconds));
    return [
      counter("portcullis_cache_reads_total", "Reads of the cache, by outcome.", reads),
      counter("portcullis_cache_factory_calls_total", "Calls of the functions that make cached values.", calls),
      counter("portcullis_cache_factory_seconds_total", "Run time of the functions that make cached values.", seconds),
    ];
  }
}

function counter(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, help, type: "counter", samples: samples.filter(({ value }) => value > 0) };
}

function sample(labels: Readonly<Record<string, string>>, value: number): Sample {
  return { suffix: "", labels, value };
}
