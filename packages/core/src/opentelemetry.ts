import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Meter, Observable, Tracer } from "@opentelemetry/api";
import { ROOT_CONTEXT, SpanStatusCode, metrics, trace } from "@opentelemetry/api";
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
  /** The metrics of the gate. */
  metrics(): readonly Metric[];
}

const scope = "@portcullis/core";

/**
 * Instruments a gate with OpenTelemetry: its metrics as observable instruments (for a histogram the sum and the count), a span
 * `portcullis.guard` for each decision as a child of the span of its request, and a root span `portcullis.store` for each
 * round trip, which many requests share. Spans cover all gates of the process. Needs the peer `@opentelemetry/api`. Returns a
 * function that stops it.
 */
export function instrument(gate: Measurable, options: InstrumentOptions = {}): () => void {
  const { tracer = trace.getTracer(scope), meter = metrics.getMeter(scope) } = options;
  const stopMetrics = observeMetrics(gate, meter);

  function traceVerdict(message: unknown): void {
    const { code, status, durationMs } = message as VerdictMessage;
    const end = Date.now();
    const span = tracer.startSpan("portcullis.guard", { startTime: end - durationMs });
    span.setAttribute("portcullis.code", code);
    if (status !== undefined) span.setAttribute("http.response.status_code", status);
    // A refusal is an answer, not an error; an outage is.
    if (status === 503) span.setStatus({ code: SpanStatusCode.ERROR, message: code });
    span.end(end);
  }

  function traceStoreCall(message: unknown): void {
    const { store, questions, durationMs, fault } = message as StoreMessage;
    const end = Date.now();
    const span = tracer.startSpan("portcullis.store", { startTime: end - durationMs }, ROOT_CONTEXT);
    span.setAttributes({ "portcullis.store": store, "portcullis.questions": questions });
    if (fault !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: fault });
    span.end(end);
  }

  subscribe(events.verdict.name, traceVerdict);
  subscribe(events.storeCall.name, traceStoreCall);
  return function stop() {
    unsubscribe(events.verdict.name, traceVerdict);
    unsubscribe(events.storeCall.name, traceStoreCall);
    stopMetrics();
  };
}

interface VerdictMessage {
  readonly code: string;
  readonly status: number | undefined;
  readonly durationMs: number;
}

interface StoreMessage {
  readonly store: string;
  readonly questions: number;
  readonly durationMs: number;
  readonly fault: string | undefined;
}

/** Creates an instrument for each metric. A gate has the same metrics for all its life. */
function observeMetrics(gate: Measurable, meter: Meter): () => void {
  const instruments = new Map<string, Observable>();
  for (const { name, help, type } of gate.metrics()) {
    const description = { description: help };
    if (type === "gauge") instruments.set(name, meter.createObservableGauge(name, description));
    else if (type === "counter") instruments.set(name, meter.createObservableCounter(name, description));
    else
      for (const suffix of ["_sum", "_count"])
        instruments.set(name + suffix, meter.createObservableCounter(name + suffix, description));
  }
  const observables = [...instruments.values()];
  const observe: Parameters<Meter["addBatchObservableCallback"]>[0] = (result) => {
    for (const { name, samples } of gate.metrics()) {
      for (const { suffix, labels, value } of samples) {
        const instrument = instruments.get(name + suffix);
        if (instrument !== undefined) result.observe(instrument, value, labels);
      }
    }
  };
  meter.addBatchObservableCallback(observe, observables);
  return () => meter.removeBatchObservableCallback(observe, observables);
}
