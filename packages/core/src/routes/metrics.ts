import type { Check } from "../request/state.js";
import { checkObject } from "../lib/validate.js";
import type { Metric } from "../telemetry/metrics.js";
import { prometheusText } from "../telemetry/metrics.js";
import { answerAt, checkPath, readMethods, reply } from "./endpoint.js";

/** Options of `routes.metrics()`. */
export interface MetricsRouteOptions {
  /** Path of the metrics. @default "/metrics" */
  readonly path?: string | undefined;
}

/** The counters of the gate, in the text format of Prometheus. */
export function metricsRoute<Raw>(options: MetricsRouteOptions, read: () => readonly Metric[]): Check<Raw> {
  checkObject("metrics()", options, ["path"]);
  const { path = "/metrics" } = options;
  checkPath("metrics().path", path);
  return answerAt({
    methods: readMethods,
    path,
    answer: () => reply(200, "text/plain; version=0.0.4; charset=utf-8", prometheusText(read())),
  });
}
