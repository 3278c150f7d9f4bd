import type { Entry, History } from "../history.js";

/** A property that did not hold, with the entries of the history that show it. */
export interface Violation {
  readonly property: string;
  readonly message: string;
  /** When, in milliseconds of the machine's monotonic clock. */
  readonly at: number;
  readonly evidence: readonly Entry[];
}

/** Looks for violations of one property in a whole history. Pure: it asks nobody. */
export type Checker = (history: History) => readonly Violation[];

export function groupBy<T>(list: readonly T[], nameOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of list) {
    const name = nameOf(one);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [one]);
    else group.push(one);
  }
  return groups;
}

/** What an operation says under this name, as text. */
export function text(facts: Readonly<Record<string, unknown>>, name: string): string {
  const value = facts[name];
  return typeof value === "string" ? value : "";
}

/** What an operation says under this name, as a number; NaN if it is none. */
export function count(facts: Readonly<Record<string, unknown>>, name: string): number {
  const value = facts[name];
  return typeof value === "number" ? value : NaN;
}
