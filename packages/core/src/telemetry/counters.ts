import type { Labels, Metric, Sample } from "./metrics.js";

/** A counter with labels. Label values come from closed sets, never from users. */
export class Counter {
  readonly #name: string;
  readonly #help: string;
  readonly #counts = new Map<string, { readonly labels: Labels; value: number }>();

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  add(labels: Labels = {}, value = 1): void {
    const key = Object.values(labels).join(" ");
    const known = this.#counts.get(key);
    if (known === undefined) this.#counts.set(key, { labels, value });
    else known.value += value;
  }

  /** The same for the label `outcome` alone, without an object for each call. */
  addOutcome(outcome: string): void {
    const known = this.#counts.get(outcome);
    if (known === undefined) this.#counts.set(outcome, { labels: { outcome }, value: 1 });
    else known.value += 1;
  }

  read(): Metric {
    const samples = [...this.#counts.values()].map(({ labels, value }): Sample => ({ suffix: "", labels, value }));
    return { name: this.#name, help: this.#help, type: "counter", samples };
  }
}

/** Upper bounds of the buckets in seconds. One of them is the deadline of 50 ms. */
export const defaultBuckets: readonly number[] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10];

/** A histogram of durations in seconds, with one label. */
export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #label: string;
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { readonly buckets: number[]; sum: number; count: number }>();

  constructor(name: string, help: string, label: string, bounds: readonly number[] = defaultBuckets) {
    this.#name = name;
    this.#help = help;
    this.#label = label;
    this.#bounds = bounds;
  }

  observe(label: string, seconds: number): void {
    let series = this.#series.get(label);
    if (series === undefined) {
      series = { buckets: this.#bounds.map(() => 0), sum: 0, count: 0 };
      this.#series.set(label, series);
    }
    series.sum += seconds;
    series.count += 1;
    const bucket = this.#bounds.findIndex((bound) => seconds <= bound);
    if (bucket !== -1) series.buckets[bucket] = (series.buckets[bucket] ?? 0) + 1;
  }

  read(): Metric {
    const samples: Sample[] = [];
    for (const [value, { buckets, sum, count }] of this.#series) {
      const labels = { [this.#label]: value };
      let below = 0;
      this.#bounds.forEach((bound, index) => {
        below += buckets[index] ?? 0;
        samples.push({ suffix: "_bucket", labels: { ...labels, le: String(bound) }, value: below });
      });
      samples.push(
        { suffix: "_bucket", labels: { ...labels, le: "+Inf" }, value: count },
        { suffix: "_sum", labels, value: sum },
        { suffix: "_count", labels, value: count },
      );
    }
    return { name: this.#name, help: this.#help, type: "histogram", samples, buckets: this.#bounds };
  }
}

/** The counters of a gate. A counter that has counted nothing has no samples. */
export class CounterList {
  readonly #counters: Counter[] = [];

  /** Makes a counter that {@link read} reads, too. */
  add(name: string, help: string): Counter {
    const counter = new Counter(name, help);
    this.#counters.push(counter);
    return counter;
  }

  read(): Metric[] {
    return this.#counters.map((counter) => counter.read());
  }
}
