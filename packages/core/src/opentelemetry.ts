import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Histogram, Meter, Observable, Tracer } from "@opentelemetry/api";
import { ROOT_CONTEXT, SpanStatusCode, metrics, trace } from "@opentelemetry/api";
import type { DenialDetail } from "./http/denial-detail.js";
import { events } from "./telemetry/events.js";
import type { Metric } from "./telemetry/metrics.js";

/** Options of {@link instrument}. */
export interface InstrumentOptions {
  /** Tracer of the spans. @default the global tracer "@portcullis/core" */
  readonly tracer?: Tracer | undefined;
  /** Meter of the metrics. @default the global meter "@portcullis/core" */
  readonly meter?: Meter | undefined;
}

/** The part of a gate that {@link instrument} needs. */
export interface Measurable {
  /** Tells the events of this gate from those of other gates in the process. @default all events */
  readonly name?: string | undefined;
  /** The metrics of the gate. */
  metrics(): readonly Metric[];
}

const scope = "@portcullis/core";

/**
 * Instruments a gate with OpenTelemetry: its metrics as observable instruments, its durations as histograms, a span
 * `portcullis.guard` for each decision as a child of the span of its request, and a root span `portcullis.store` for each
 * round trip, which many requests share. Call it once for each gate of the process. Needs the peer `@opentelemetry/api`.
 * Returns a function that stops it. It also stops when a later gate is instrumented under the name of this one, which was
 * closed then.
 */
export function instrument(gate: Measurable, options: InstrumentOptions = {}): () => void {
  stopPredecessors(gate);
  const { tracer = trace.getTracer(scope), meter = metrics.getMeter(scope) } = options;
  const stopMetrics = observeMetrics(gate, meter);
  const histograms = createHistograms(gate, meter);

  function isOwn({ gate: name }: GateMessage): boolean {
    return gate.name === undefined || name === gate.name;
  }

  function traceVerdict(published: unknown): void {
    const message = published as VerdictMessage;
    if (!isOwn(message)) return;
    const { code, status, durationMs, cause, detail } = message;
    histograms.decision(code === "allowed" || code === "answered" ? code : "denied", durationMs);
    const end = Date.now();
    const span = tracer.startSpan("portcullis.guard", { startTime: end - durationMs });
    span.setAttributes({ "portcullis.gate": message.gate, "portcullis.code": code });
    if (status !== undefined) span.setAttribute("http.response.status_code", status);
    if (cause !== undefined) span.setAttribute("portcullis.cause", cause);
    for (const [name, value] of Object.entries<string | number | undefined>({ ...detail }))
      if (value !== undefined) span.setAttribute(attributes[name as keyof DenialDetail], value);
    // A refusal is an answer, not an error; an outage is.
    if (status === 503) span.setStatus({ code: SpanStatusCode.ERROR, message: code });
    span.end(end);
  }

  function traceStoreCall(published: unknown): void {
    const message = published as StoreMessage;
    if (!isOwn(message)) return;
    const { store, questions, durationMs, fault } = message;
    histograms.storeCall(store, durationMs);
    const end = Date.now();
    const span = tracer.startSpan("portcullis.store", { startTime: end - durationMs }, ROOT_CONTEXT);
    span.setAttributes({
      "portcullis.gate": message.gate,
      "portcullis.store": store,
      "portcullis.questions": questions,
    });
    if (fault !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: fault });
    span.end(end);
  }

  subscribe(events.verdict.name, traceVerdict);
  subscribe(events.storeCall.name, traceStoreCall);
  const running: Instrumentation = { gate, stop };
  instrumentations.add(running);
  return stop;

  function stop(): void {
    instrumentations.delete(running);
    unsubscribe(events.verdict.name, traceVerdict);
    unsubscribe(events.storeCall.name, traceStoreCall);
    stopMetrics();
  }
}

interface Instrumentation {
  readonly gate: Measurable;
  readonly stop: () => void;
}

/** Instrumentations of this process that run. A closed gate keeps its own, so that its last values are still exported. */
const instrumentations = new Set<Instrumentation>();

/** The events of a gate are known by its name alone, so that two instrumentations would record each event twice. */
function stopPredecessors(gate: Measurable): void {
  if (gate.name === undefined) return;
  for (const { gate: other, stop } of instrumentations) if (other !== gate && other.name === gate.name) stop();
}

/** The attributes of a span for the detail of a refusal. */
const attributes: Readonly<Record<keyof DenialDetail, string>> = {
  claim: "portcullis.claim",
  header: "portcullis.header",
  expected: "portcullis.expected",
  found: "portcullis.found",
  policy: "portcullis.policy",
  key: "portcullis.key",
  limit: "portcullis.limit",
  windowSeconds: "portcullis.window_seconds",
  retryAfterSeconds: "portcullis.retry_after_seconds",
  reason: "portcullis.reason",
};

interface GateMessage {
  readonly gate: string;
}

interface VerdictMessage extends GateMessage {
  readonly code: string;
  readonly status: number | undefined;
  readonly durationMs: number;
  readonly cause?: string | undefined;
  readonly detail?: DenialDetail | undefined;
}

interface StoreMessage extends GateMessage {
  readonly store: string;
  readonly questions: number;
  readonly durationMs: number;
  readonly fault: string | undefined;
}

interface Histograms {
  decision(outcome: string, durationMs: number): void;
  storeCall(store: string, durationMs: number): void;
}

/** OpenTelemetry has no observable histograms, so durations are recorded as they come. */
function createHistograms(gate: Measurable, meter: Meter): Histograms {
  const all = gate.metrics();
  // Every value of a gate has the same labels of gate and service.
  const labels = all.find(({ name }) => name === "portcullis_up")?.samples[0]?.labels ?? {};
  const buckets = bucketsOf(all);
  const create = (name: string, description: string): Histogram =>
    meter.createHistogram(name, {
      description,
      unit: "s",
      ...(buckets === undefined ? {} : { advice: { explicitBucketBoundaries: buckets } }),
    });
  const decisions = create("portcullis_decision_duration_seconds", "Time of each decision, by outcome.");
  const storeCalls = create("portcullis_store_call_duration_seconds", "Round trips to the store.");
  return {
    decision: (outcome, durationMs) => decisions.record(durationMs / 1000, { ...labels, outcome }),
    storeCall: (store, durationMs) => storeCalls.record(durationMs / 1000, { ...labels, store }),
  };
}

function bucketsOf(all: readonly Metric[]): number[] | undefined {
  return all.find(({ type }) => type === "histogram")?.buckets?.slice();
}

/** Creates an instrument for each metric. A gate has the same metrics for all its life. */
function observeMetrics(gate: Measurable, meter: Meter): () => void {
  const instruments = new Map<string, Observable>();
  for (const { name, help, type } of gate.metrics()) {
    const description = { description: help };
    if (type === "gauge") instruments.set(name, meter.createObservableGauge(name, description));
    else if (type === "counter") instruments.set(name, meter.createObservableCounter(name, description));
  }
  const observables = [...instruments.values()];
  const observe: Parameters<Meter["addBatchObservableCallback"]>[0] = (result) => {
    for (const { name, samples } of gate.metrics()) {
      const instrument = instruments.get(name);
      if (instrument !== undefined) for (const { labels, value } of samples) result.observe(instrument, value, labels);
    }
  };
  meter.addBatchObservableCallback(observe, observables);
  return () => meter.removeBatchObservableCallback(observe, observables);
}
