import type { Check } from "../request/state.js";
import { checkObject, optionError } from "../lib/validate.js";
import type { Metric } from "../telemetry/metrics.js";
import { mergeMetrics, prometheusText } from "../telemetry/metrics.js";
import { answerAt, checkPath, readMethods, reply } from "./endpoint.js";

/** Options of `routes.metrics()`. */
export interface MetricsRouteOptions {
  /** Path of the metrics. @default "/metrics" */
  readonly path?: string | undefined;
  /** Further gates of this process, for one endpoint with the metrics of all of them. @default this gate alone */
  readonly gates?: readonly MeasuredGate[] | undefined;
}

/** A gate whose metrics are read. */
export interface MeasuredGate {
  metrics(): readonly Metric[];
}

/** The counters of the gate, in the text format of Prometheus. */
export function metricsRoute<Raw>(options: MetricsRouteOptions, read: () => readonly Metric[]): Check<Raw> {
  checkObject("metrics()", options, ["path", "gates"]);
  const { path = "/metrics", gates = [] } = options;
  checkPath("metrics().path", path);
  if (
    !Array.isArray(gates) ||
    !gates.every((gate) => typeof (gate as Partial<MeasuredGate> | null)?.metrics === "function")
  )
    throw optionError("metrics().gates", "must be a list of gates");
  const readAll = (): readonly Metric[] =>
    gates.length === 0 ? read() : mergeMetrics([read(), ...gates.map((gate: MeasuredGate) => gate.metrics())]);
  return answerAt({
    methods: readMethods,
    path,
    answer: () => reply(200, "text/plain; version=0.0.4; charset=utf-8", prometheusText(readAll())),
  });
}
