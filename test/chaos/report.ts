import type { Entry, Fault, History } from "./history.js";
import { cutsOf } from "./checkers/connections.js";
import type { Violation } from "./checkers/violation.js";
import { groupBy } from "./checkers/violation.js";

export interface ReportOptions {
  readonly name: string;
  readonly seed: number;
  /** Where the whole history is. */
  readonly file: string;
  readonly history: History;
  readonly violations: readonly Violation[];
}

/** How many violations of one property are shown, and entries of each. */
const shown = { violations: 3, entries: 12 };

/** Says how a run went. Returns the number of violations. */
export function printReport({ name, seed, file, history, violations }: ReportOptions): number {
  const { operations, works, ends, degradations } = history;
  const faults = history.faults.filter(({ what }) => what !== "busy");
  console.log(
    `${name}, seed ${seed}: ${operations.length} requests, ${faults.length} faults, ${works.length} handlers behind limits, ` +
      `${ends.length} ends of processes, ${degradations.length} decisions without Redis, ${violations.length} violations`,
  );
  printStreams(history);
  const origin = operations[0]?.start ?? 0;
  for (const [property, group] of groupBy(violations, (one) => one.property)) {
    console.log(`\nVIOLATED: ${property} (${group.length} times)`);
    for (const { message, at, evidence } of group.slice(0, shown.violations)) {
      console.log(`  ${seconds(at - origin)}  ${message}`);
      const around = faults.filter((fault) => fault.start <= at + 1000 && fault.end >= at - 8000);
      const lines: readonly Entry[] = [...evidence.slice(-shown.entries), ...around];
      for (const entry of lines) console.log(`      ${describe(entry, origin)}`);
    }
  }
  if (violations.length > 0) {
    console.log(`\nThe whole history: ${file}`);
    console.log(`Again: npm run test:chaos -- --topology=${name} --seed=${seed}`);
  }
  return violations.length;
}

/** Says how much there was to check of streams of events. */
function printStreams(history: History): void {
  const { streams } = history;
  const told = streams.flatMap((one) => one.told);
  const cuts = cutsOf(history)
    .filter(({ stream }) => stream.how !== "left")
    .map(({ ms }) => ms)
    .sort((one, other) => one - other);
  const at = (part: number): number => Math.round(cuts[Math.floor(part * (cuts.length - 1))] ?? 0);
  console.log(
    `${streams.length} streams, ${streams.filter(({ after }) => after !== "").length} resumed, ` +
      `${told.filter(({ kind }) => kind === "message").length} events, ${told.filter(({ kind }) => kind === "gap").length} gaps, ` +
      `${cuts.length} ends of sessions that cut a stream, after ${at(0.5)} ms (median), ${at(0.99)} ms (p99), ${at(1)} ms (most)`,
  );
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function describe(entry: Entry, origin: number): string {
  switch (entry.type) {
    case "operation": {
      const { id, name, process, life, start, end, status, left, args, answer } = entry;
      const said = `${JSON.stringify(args)} -> ${JSON.stringify(answer)}`;
      const outcome = left ? "left" : String(status);
      return `${span(start, end, origin)} #${id} ${name} at ${process}.${life}: ${outcome} ${said}`;
    }
    case "fault":
      return `${span(entry.start, entry.end, origin)} FAULT ${entry.kind} (processes ${describeProcesses(entry)})`;
    case "work":
      return `${span(entry.entered, entry.left, origin)} handler of #${entry.operation} at ${entry.process}.${entry.life}`;
    default:
      return JSON.stringify(entry);
  }
}

function describeProcesses({ processes, loses }: Fault): string {
  return `${processes.join(", ") || "none"}${loses ? "; writes may be lost" : ""}`;
}

function span(start: number, end: number, origin: number): string {
  return `${seconds(start - origin)} to ${seconds(end - origin)}`;
}
