import type { Metric } from "../telemetry/metrics.js";
import { gauge, labelled } from "../telemetry/metrics.js";
import type { Health } from "./monitor.js";

/**
 * All metrics of a gate: what its parts have counted, and the state of its dependencies. The names of the gate and of the
 * service are labels of each value.
 */
export function gateMetrics(
  counted: readonly Metric[],
  { status, store, keys }: Health,
  { gate, service }: { readonly gate: string; readonly service: string | undefined },
): readonly Metric[] {
  const dependencies: [{ dependency: string }, number][] = [[{ dependency: "store" }, store.status === "down" ? 0 : 1]];
  if (keys !== "none") dependencies.push([{ dependency: "keys" }, keys === "down" ? 0 : 1]);
  const metrics = [
    ...counted,
    gauge("portcullis_up", "0 while protected requests are refused for an outage.", [[{}, status === "down" ? 0 : 1]]),
    gauge("portcullis_dependency_up", "1 while a dependency answers, also if only in part.", dependencies),
  ];
  const named = labelled(metrics, "gate", gate);
  return service === undefined ? named : labelled(named, "service", service);
}
