import type { Order, Report } from "./messages.js";

export function tell(report: Report): void {
  if (process.connected) process.send?.(report);
}

const waiting = new Map<number, (version: number) => void>();
let questions = 0;

/** The data source behind the caches: the version of what this key stands for. `change` makes a new one. */
export function askSource(key: string, change: boolean): Promise<number> {
  questions += 1;
  const question = questions;
  return new Promise((resolve) => {
    waiting.set(question, resolve);
    tell({ type: "ask", question, key, change });
  });
}

/** A data source that refuses a fence if it has seen a higher one. Resolves to the value, or to -1. */
export function askFenced(asked: {
  readonly key: string;
  readonly fence: number;
  readonly action: "read" | "write";
  readonly value: number;
}): Promise<number> {
  questions += 1;
  const question = questions;
  return new Promise((resolve) => {
    waiting.set(question, resolve);
    tell({ type: "fenced", question, ...asked });
  });
}

export function hearSource({ question, version }: Extract<Order, { type: "version" }>): void {
  waiting.get(question)?.(version);
  waiting.delete(question);
}
