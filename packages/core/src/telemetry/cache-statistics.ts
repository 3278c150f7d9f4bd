import { events } from "./events.js";
import type { Metric, Sample } from "./metrics.js";

/** How a read of the cache was answered: from the request's memo, this process, the store, past its time, or not. */
export type CacheOutcome = "memo" | "local" | "store" | "stale" | "miss";

/** Namespaces that have numbers of their own; the rest are "other", so that names made of users' text cost nothing. */
const maxNamespaces = 100;

/** What was counted in one namespace. */
export class NamespaceStatistics {
  readonly namespace: string;
  readonly reads: Record<CacheOutcome, number> = { memo: 0, local: 0, store: 0, stale: 0, miss: 0 };
  made = 0;
  failed = 0;
  /** Of all factories, those that failed too. */
  factorySeconds = 0;

  constructor(namespace: string) {
    this.namespace = namespace;
  }

  count(outcome: CacheOutcome): void {
    this.reads[outcome] += 1;
    if (events.cacheRead.hasSubscribers) events.cacheRead.publish({ namespace: this.namespace, outcome });
  }

  factoryEnded(durationMs: number, failed: boolean): void {
    if (failed) this.failed += 1;
    else this.made += 1;
    this.factorySeconds += durationMs / 1000;
    if (!events.cacheFactory.hasSubscribers) return;
    events.cacheFactory.publish({ namespace: this.namespace, outcome: failed ? "failed" : "made", durationMs });
  }
}

/** The statistics of a cache, by namespace: a closed set of labels. */
export class CacheStatistics {
  readonly #namespaces = new Map<string, NamespaceStatistics>();

  of(path: string): NamespaceStatistics {
    const wanted = path === "" ? "default" : path;
    const name = this.#namespaces.size < maxNamespaces || this.#namespaces.has(wanted) ? wanted : "other";
    const known = this.#namespaces.get(name);
    if (known !== undefined) return known;
    const made = new NamespaceStatistics(name);
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
      counter("portcullis_cache_reads_total", "Reads of the cache, by what answered them.", reads),
      counter("portcullis_cache_factory_calls_total", "Calls of the functions that make cached values.", calls),
      counter("portcullis_cache_factory_seconds_total", "How long they took.", seconds),
    ];
  }
}

function counter(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, help, type: "counter", samples: samples.filter(({ value }) => value > 0) };
}

function sample(labels: Readonly<Record<string, string>>, value: number): Sample {
  return { suffix: "", labels, value };
}
