/** One value of a metric. */
export interface Sample {
  /** The suffix of the metric's name: `_bucket`, `_sum` or `_count` for a histogram, else empty. */
  readonly suffix: "" | "_bucket" | "_sum" | "_count";
  /** Labels of the value. */
  readonly labels: Readonly<Record<string, string>>;
  /** The value. */
  readonly value: number;
}

/** A metric with all its values, for a registry of metrics. Names follow the conventions of Prometheus. */
export interface Metric {
  /** Name of the metric. */
  readonly name: string;
  /** Description of the metric. */
  readonly help: string;
  /** Kind of the metric. */
  readonly type: "counter" | "gauge" | "histogram";
  /** Values of the metric, one for each set of labels. */
  readonly samples: readonly Sample[];
  /** The upper bounds of the buckets of a histogram, without the infinite one. */
  readonly buckets?: readonly number[] | undefined;
}

export type Labels = Readonly<Record<string, string>>;

/** A gauge with the current values. */
export function gauge(name: string, help: string, samples: readonly (readonly [Labels, number])[]): Metric {
  return {
    name,
    help,
    type: "gauge",
    samples: samples.map(([labels, value]) => ({ suffix: "", labels, value })),
  };
}

/** A counter without labels, which is shown also at zero. */
export function total(name: string, help: string, value: number): Metric {
  return { name, help, type: "counter", samples: [{ suffix: "", labels: {}, value }] };
}

/**
 * The metrics of several gates as one list: one metric of each name, with the samples of all. Of two samples with the same
 * labels, as those of a gate that stands twice in a list, the first counts: Prometheus refuses a whole text with both.
 */
export function mergeMetrics(lists: readonly (readonly Metric[])[]): Metric[] {
  const merged = new Map<string, Metric>();
  for (const metric of lists.flat()) {
    const known = merged.get(metric.name);
    const samples = known === undefined ? metric.samples : [...known.samples, ...metric.samples];
    merged.set(metric.name, { ...metric, samples });
  }
  return [...merged.values()].map((metric) => ({ ...metric, samples: withoutRepetitions(metric.samples) }));
}

function withoutRepetitions(samples: readonly Sample[]): Sample[] {
  const known = new Map<string, Sample>();
  for (const sample of samples) {
    const name = JSON.stringify([sample.suffix, ...Object.entries(sample.labels).sort()]);
    if (!known.has(name)) known.set(name, sample);
  }
  return [...known.values()];
}

/** The metrics with one more label. */
export function labelled(metrics: readonly Metric[], label: string, content: string): Metric[] {
  return metrics.map((metric) => ({
    ...metric,
    samples: metric.samples.map((sample) => ({ ...sample, labels: { [label]: content, ...sample.labels } })),
  }));
}

/** The text format of Prometheus, version 0.0.4. */
export function prometheusText(metrics: readonly Metric[]): string {
  let text = "";
  for (const { name, help, type, samples } of metrics) {
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const { suffix, labels, value } of samples) {
      const pairs = Object.entries(labels).map(([label, content]) => `${label}="${escape(content)}"`);
      text += `${name}${suffix}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`;
    }
  }
  return text;
}

function escape(content: string): string {
  return content.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}
