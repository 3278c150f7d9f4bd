import { checkBoolean, checkObject, checkString, optionError } from "../lib/validate.js";
import { defaultBuckets } from "./counters.js";

/** The telemetry of a gate: its name, its histograms, and the lines for developers. */
export interface TelemetryOptions {
  /**
   * Name of the gate: 1 to 64 letters, digits, `_`, `-` and `.`. It is the label `gate` of its metrics and the member `gate` of
   * its events. A further gate of this process with the same name gets a number behind it: `"default-2"`.
   * @default option `service`, or "default"
   */
  readonly gate?: string | undefined;
  /** Upper bounds in seconds of the buckets of histograms, in ascending order. @default [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10] */
  readonly buckets?: readonly number[] | undefined;
  /** Measure the time of each decision, for the histogram `portcullis_decision_duration_seconds`. @default false */
  readonly decisions?: boolean | undefined;
  /** Print one line for each refusal on the standard error, with its cause. @default true where the environment variable DEBUG names portcullis */
  readonly debug?: boolean | undefined;
}

export interface ResolvedTelemetry {
  readonly gate: string;
  readonly buckets: readonly number[];
  readonly decisions: boolean;
  readonly debug: boolean;
}

const maxBuckets = 100;

export function resolveTelemetry(options: TelemetryOptions, service: string | undefined): ResolvedTelemetry {
  checkObject("telemetry", options, ["gate", "buckets", "decisions", "debug"]);
  const { gate = service ?? "default", buckets = defaultBuckets, decisions = false } = options;
  const { debug = namesPortcullis(process.env.DEBUG ?? "") } = options;
  checkString("telemetry.gate", gate);
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(gate))
    throw optionError("telemetry.gate", "must be 1 to 64 letters, digits, _, - and .");
  checkBuckets(buckets);
  checkBoolean("telemetry.decisions", decisions);
  checkBoolean("telemetry.debug", debug);
  return { gate, buckets: [...buckets], decisions, debug };
}

function checkBuckets(buckets: unknown): void {
  const list: readonly unknown[] = Array.isArray(buckets) ? buckets : [];
  const isAscending = list.every(
    (bound, index) =>
      typeof bound === "number" &&
      Number.isFinite(bound) &&
      bound > 0 &&
      (index === 0 || bound > Number(list[index - 1])),
  );
  if (list.length === 0 || list.length > maxBuckets || !isAscending)
    throw optionError("telemetry.buckets", `must be 1 to ${maxBuckets} numbers of seconds above 0, in ascending order`);
}

/** Does the variable DEBUG name portcullis, in the way of the package debug: a list with wildcards and exclusions? */
function namesPortcullis(variable: string): boolean {
  const names = variable.split(/[\s,]+/).filter((name) => name !== "");
  const isMeant = (name: string): boolean => {
    if (!name.endsWith("*")) return name === "portcullis";
    return "portcullis".startsWith(name.slice(0, -1).replace(/:$/, ""));
  };
  const excluded = names.some((name) => name.startsWith("-") && isMeant(name.slice(1)));
  return !excluded && names.some((name) => !name.startsWith("-") && isMeant(name));
}
