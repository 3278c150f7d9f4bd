import { historyOf } from "../history.js";
import type {
  Calm,
  Degradation,
  End,
  Entry,
  Fault,
  Fenced,
  History,
  Hold,
  Operation,
  Reach,
  Stream,
  Told,
  Work,
} from "../history.js";

/** Entries of histories made by hand: what a test does not say is harmless. */
let made = 0;

export function operation(name: string, start: number, more: Partial<Operation> = {}): Operation {
  made += 1;
  return {
    ...{ type: "operation", id: made, client: "client", name, process: 0, life: 1, start, end: start + 10 },
    ...{ status: 200, left: false, args: {}, answer: {} },
    ...more,
  };
}

export function fault(start: number, end: number, more: Partial<Fault> = {}): Fault {
  return {
    ...{
      type: "fault",
      kind: "a server stands still",
      start,
      end,
      processes: [0, 1, 2, 3],
      what: "redis",
      loses: false,
    },
    ...more,
  };
}

export function work(entered: number, left: number, more: Partial<Work> = {}): Work {
  return { type: "work", operation: 0, process: 0, life: 1, policy: "slots", key: "one", entered, left, ...more };
}

export function end(at: number, more: Partial<End> = {}): End {
  return { type: "end", process: 0, life: 1, at, how: "killed", code: null, ms: 0, ...more };
}

export function hold(entered: number, left: number, more: Partial<Hold> = {}): Hold {
  return { type: "hold", process: 0, life: 1, name: "a", fence: entered, entered, left, ...more };
}

export function fenced(at: number, fence: number, value: number, more: Partial<Fenced> = {}): Fenced {
  return {
    ...{ type: "fenced", process: 0, life: 1, at, key: "lock a", fence, action: "write", value, accepted: true },
    ...more,
  };
}

export function calm(start: number): Calm {
  return { type: "calm", start, end: start + 20_000 };
}

export function degradation(at: number, process = 0): Degradation {
  return { type: "degradation", process, life: 1, at, part: "limit" };
}

export function reach(at: number, reached: boolean, process = 0): Reach {
  return { type: "reach", process, life: 1, at, reached };
}

/** The id of a place in a log. */
export function idAt(ms: number): string {
  return `${ms}-0-0123456789ab`;
}

/** A message, whose place in the log is its number. */
export function message(number: number, topic = "news", at = number): Told {
  return { kind: "message", at, id: idAt(number), publisher: "publisher", number, topic };
}

export function place(ms: number): Told {
  return { kind: "place", at: ms, id: idAt(ms) };
}

export function gap(at: number, reason = "lost"): Told {
  return { kind: "gap", at, reason };
}

/** A message that was published, and confirmed if nothing else is said. */
export function post(number: number, more: Partial<Operation> = {}): Operation {
  const args = { publisher: "publisher", number, topic: "news" };
  return operation("publish", number - 5, { args, answer: { id: idAt(number) }, ...more });
}

/** The stream of a reader, from its first to its last message. */
export function stream(told: readonly Told[], more: Partial<Stream> = {}): Stream {
  const [start, end] = [told[0]?.at ?? 0, told.at(-1)?.at ?? 0];
  return {
    ...{ type: "stream", client: "reader", process: 0, life: 1, start, opened: start, end, status: 200, how: "left" },
    ...{ reason: undefined, topics: ["news", "user:reader"], foreign: false, after: "", resumes: true, told },
    ...{ look: undefined, expires: 1_000_000, args: {} },
    ...more,
  };
}

export function history(...entries: readonly (Entry | readonly Entry[])[]): History {
  return historyOf(entries.flat());
}

/** So many entries, a millisecond apart. */
export function many<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
