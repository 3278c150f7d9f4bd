import { createWriteStream } from "node:fs";
import type { WriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { settleMs } from "./settings.js";

/** Milliseconds of the machine's monotonic clock, which is one for all processes. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** What an operation was about: labels, never tokens. */
export type Facts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** One request of a client, and its answer. */
export interface Operation {
  readonly type: "operation";
  readonly id: number;
  readonly client: string;
  readonly name: string;
  /** The application process that was asked, and which life of it. */
  readonly process: number;
  readonly life: number;
  readonly start: number;
  readonly end: number;
  /** 0 without an answer. */
  readonly status: number;
  /** The client left before the answer. */
  readonly left: boolean;
  readonly args: Facts;
  readonly answer: Facts;
}

/** A fault, from its beginning until everything was undone and the servers were settled again. */
export interface Fault {
  readonly type: "fault";
  readonly kind: string;
  readonly start: number;
  readonly end: number;
  /** Application processes that it touches. */
  readonly processes: readonly number[];
  /**
   * `redis`: Redis may not answer; `clock`, `stop`, `end`: of an application process; `busy`: the machine gave it no time;
   * `none`: nobody should notice.
   */
  readonly what: "redis" | "clock" | "stop" | "end" | "busy" | "none";
  /** Another server has become the master without having been told everything: what was written just before may be lost. */
  readonly loses: boolean;
}

/** A handler that ran behind a limit. */
export interface Work {
  readonly type: "work";
  readonly operation: number;
  readonly process: number;
  readonly life: number;
  readonly policy: string;
  readonly key: string;
  readonly entered: number;
  readonly left: number;
}

/** The end of an application process. */
export interface End {
  readonly type: "end";
  readonly process: number;
  readonly life: number;
  readonly at: number;
  /** `killed` and `asked` by the test, or by itself. */
  readonly how: "killed" | "asked" | "crashed";
  readonly code: number | null;
  /** Milliseconds from being asked until it ended. */
  readonly ms: number;
}

/** A process decided something by its rules for outages. */
export interface Degradation {
  readonly type: "degradation";
  readonly process: number;
  readonly life: number;
  readonly at: number;
  readonly part: string;
}

/** Something that a process must never say: an unhandled rejection, a warning of Node. */
export interface Complaint {
  readonly type: "complaint";
  readonly process: number;
  readonly at: number;
  readonly text: string;
}

/** A time without faults and without clients but those that look after the damage. */
export interface Calm {
  readonly type: "calm";
  readonly start: number;
  readonly end: number;
}

/** What was found by looking: keys of Redis without an end, bytes of heap, connections. */
export interface Audit {
  readonly type: "audit";
  readonly at: number;
  readonly endlessKeys: readonly string[];
  readonly heapBytes: readonly number[];
  /** Streams that each process holds, when all clients have left. */
  readonly openConnections: readonly number[];
}

/** A function that ran while its process held a lock, until it ended and the lock was given back in time. */
export interface Hold {
  readonly type: "hold";
  readonly process: number;
  readonly life: number;
  readonly name: string;
  readonly fence: number;
  readonly entered: number;
  readonly left: number;
}

/** A read or a write with a fence, at the data source that checks fences. */
export interface Fenced {
  readonly type: "fenced";
  readonly process: number;
  readonly life: number;
  readonly at: number;
  /** What the fence is for: "lock <name>" or "leader <name>". */
  readonly key: string;
  readonly fence: number;
  readonly action: "read" | "write";
  /** The value that was read or written. */
  readonly value: number;
  readonly accepted: boolean;
}

/** From now on this process knows, or does not know, whether the tokens of its open connections are good. */
export interface Reach {
  readonly type: "reach";
  readonly process: number;
  readonly life: number;
  readonly at: number;
  readonly reached: boolean;
}

/** Something that a stream of events has told its client: a message, the place in the log alone, or a gap. */
export type Told =
  | {
      readonly kind: "message";
      readonly at: number;
      readonly id: string;
      readonly publisher: string;
      readonly number: number;
      readonly topic: string;
    }
  | { readonly kind: "place"; readonly at: number; readonly id: string }
  | { readonly kind: "gap"; readonly at: number; readonly reason: string };

/** One stream of events, from the request until it was over. */
export interface Stream {
  readonly type: "stream";
  /** The reader: its streams follow each other, each after the last id of the one before, if `resumes`. */
  readonly client: string;
  readonly process: number;
  readonly life: number;
  readonly start: number;
  /** When the head of the answer came; undefined if it never did. */
  readonly opened: number | undefined;
  readonly end: number;
  /** 0 without an answer. */
  readonly status: number;
  /** The client left, the server ended the stream, or the connection broke. */
  readonly how: "left" | "ended" | "broken";
  /** What the server said about the end. */
  readonly reason: string | undefined;
  readonly topics: readonly string[];
  /** Topics that its user may not have were asked for. */
  readonly foreign: boolean;
  /** The Last-Event-ID of the request. */
  readonly after: string;
  readonly resumes: boolean;
  /** The calm in which it was opened to look whether everything has come. */
  readonly look: number | undefined;
  /** When the token expires, by the monotonic clock. */
  readonly expires: number;
  /** About the token, as in an operation. */
  readonly args: Facts;
  readonly told: readonly Told[];
}

export type Entry =
  Operation | Fault | Work | End | Degradation | Complaint | Calm | Audit | Hold | Fenced | Reach | Stream;

/** All that happened, in the order in which it was noted. */
export interface History {
  readonly operations: readonly Operation[];
  readonly faults: readonly Fault[];
  readonly works: readonly Work[];
  readonly ends: readonly End[];
  readonly degradations: readonly Degradation[];
  readonly complaints: readonly Complaint[];
  readonly calms: readonly Calm[];
  readonly audits: readonly Audit[];
  readonly holds: readonly Hold[];
  readonly fenced: readonly Fenced[];
  readonly reaches: readonly Reach[];
  readonly streams: readonly Stream[];
}

export function historyOf(entries: readonly Entry[]): History {
  function all<Type extends Entry["type"]>(type: Type): Extract<Entry, { type: Type }>[] {
    return entries.filter((entry): entry is Extract<Entry, { type: Type }> => entry.type === type);
  }
  return {
    operations: all("operation"),
    faults: all("fault"),
    works: all("work"),
    ends: all("end"),
    degradations: all("degradation"),
    complaints: all("complaint"),
    calms: all("calm"),
    audits: all("audit"),
    holds: all("hold"),
    fenced: all("fenced"),
    reaches: all("reach"),
    streams: all("stream"),
  };
}

/** Keeps a history in memory and in a file, a line of JSON for each entry. */
export class Recorder {
  readonly entries: Entry[] = [];
  readonly file: string;
  readonly #stream: WriteStream;

  constructor(file: string) {
    this.file = file;
    this.#stream = createWriteStream(file);
  }

  note(entry: Entry): void {
    this.entries.push(entry);
    this.#stream.write(`${JSON.stringify(entry)}\n`);
  }

  async close(): Promise<void> {
    this.#stream.end();
    await finished(this.#stream);
  }
}

/** Faults of these sorts that touch this time, or have ended so shortly before it that their effects may last. */
export function faultsDuring(
  { faults }: History,
  from: number,
  until: number,
  { what, process, after = settleMs }: { what: readonly Fault["what"][]; process?: number; after?: number },
): readonly Fault[] {
  return faults.filter(
    (fault) =>
      what.includes(fault.what) &&
      fault.start <= until &&
      fault.end + after >= from &&
      (process === undefined || fault.processes.includes(process)),
  );
}

/** Did every process reach its Redis all the time? A machine that is too busy for that is no fault of the gate. */
export function redisWasUp(history: History, from: number, until: number, process?: number): boolean {
  const sorts = { what: ["redis", "stop", "end"] as const, ...(process === undefined ? {} : { process }) };
  if (faultsDuring(history, from, until, sorts).length > 0) return false;
  return !history.degradations.some(
    (one) => one.at >= from - settleMs && one.at <= until && (process === undefined || one.process === process),
  );
}

/** How long before a failover a server may have confirmed what its replica never got. */
const unreplicatedMs = 1000;

/** May what was confirmed at this time have been lost with a master? */
export function mayBeLost(history: History, at: number): boolean {
  return mayBeLostDuring(history, at, at);
}

/** May something have been lost with a master that was written at some time between these? */
export function mayBeLostDuring({ faults }: History, from: number, until: number): boolean {
  return faults.some(({ loses, start, end }) => loses && until >= start - unreplicatedMs && from <= end);
}
