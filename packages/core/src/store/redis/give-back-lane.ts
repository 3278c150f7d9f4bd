import type { Script } from "./scripts/lua.js";
import { monotonicNow } from "../../lib/real-timers.js";

/** One correction: the key, the arguments of its script, and how long it is repeated. */
export interface GiveBackLine {
  readonly key: string;
  readonly args: readonly (string | number)[];
  readonly lifeMs: number;
  /** Repeat the line once more, although it was answered. */
  readonly twice?: true | undefined;
}

/** Keys and arguments of a script call, as `numberedCallLua` reads them. */
export type Arguments = [keys: string[], args: (string | number)[]];

/** Keys and arguments without the number of the call. */
export type CallArguments = readonly [keys: readonly string[], args: readonly (string | number)[]];

/** Maximum number of lines of one script call: more would delay other clients of a shared Redis. */
const maxLines = 256;
/** How much longer than its lines a number is remembered, for a call that is on its way at the end. */
const marginMs = 5000;
/** How long after its answer a batch is repeated on a new connection: a replica without it may be the master there. */
const answeredMs = 5000;
/** Maximum number of answered lines that are kept. All processes repeat them at once when a master is replaced. */
const maxAnswered = 1000;

/** Lines that are sent as one script call. The same call is repeated until it is answered. */
export class Batch {
  readonly lane: GiveBackLane;
  readonly script: Script;
  #lines: readonly GiveBackLine[];
  /** The number of the call; 0 if the call may run twice without harm. */
  readonly number: number;
  /** Does this batch undo the call with its number? */
  readonly undoes: boolean;
  /** When Redis answered for the first time. */
  answeredAt: number | undefined;
  readonly #since: number;
  readonly #lifeMs: number;

  constructor(
    lane: GiveBackLane,
    script: Script,
    lines: readonly GiveBackLine[],
    number: number,
    undoes: boolean,
    since: number = monotonicNow(),
  ) {
    this.#since = since;
    this.lane = lane;
    this.script = script;
    this.#lines = lines;
    this.number = number;
    this.undoes = undoes;
    this.#lifeMs = Math.max(...lines.map(({ lifeMs }) => lifeMs));
  }

  get lines(): readonly GiveBackLine[] {
    return this.#lines;
  }

  /** Drops the other lines, before the batch is sent. Returns their number. */
  narrow(keeps: (line: GiveBackLine) => boolean): number {
    const all = this.#lines.length;
    this.#lines = this.#lines.filter(keeps);
    return all - this.#lines.length;
  }

  get hasEnded(): boolean {
    return monotonicNow() - this.#since >= this.#lifeMs;
  }

  /** Returns the same call, not sent yet: a late reply to an attempt of this batch does not finish it. */
  repeat(): Batch {
    const batch = new Batch(this.lane, this.script, this.#lines, this.number, this.undoes, this.#since);
    batch.answeredAt = this.answeredAt;
    return batch;
  }

  encode(): Arguments {
    const keys = this.lines.map(({ key }) => key);
    const args = this.lines.flatMap((line) => line.args);
    const { number } = this;
    if (number !== 0) return this.#numbered(this.undoes ? -number : number, keys, args);
    return [
      [keys[0] ?? "", ...keys],
      [0, 0, this.#lifeMs + marginMs, this.#age(), ...args],
    ];
  }

  /** Encodes the call that this batch undoes. */
  encodeCall([keys, args]: CallArguments): Arguments {
    return this.#numbered(this.number, keys, args);
  }

  #numbered(number: number, ...[keys, args]: CallArguments): Arguments {
    const { memory, low } = this.lane;
    return [
      [memory, ...keys],
      [number, low, this.#lifeMs + marginMs, this.#age(), ...args],
    ];
  }

  #age(): number {
    return Math.floor(monotonicNow() - this.#since);
  }
}

/** The last batches that Redis has answered. A failover may lose them. */
export class AnsweredBatches {
  #batches: Batch[] = [];
  #lines = 0;

  add(batch: Batch): void {
    const now = monotonicNow();
    batch.answeredAt ??= now;
    this.#batches.push(batch);
    this.#lines += batch.lines.length;
    for (;;) {
      const [oldest] = this.#batches;
      if (oldest === undefined || (this.#lines <= maxAnswered && isRecent(oldest, now))) return;
      this.#lines -= oldest.lines.length;
      this.#batches.shift();
    }
  }

  /** Removes all batches. Returns those that may be lost, by their lane. */
  take(): Map<GiveBackLane, Batch[]> {
    const now = monotonicNow();
    const lanes = new Map<GiveBackLane, Batch[]>();
    for (const batch of this.#batches) {
      if (!isRecent(batch, now) || batch.hasEnded) continue;
      const batches = lanes.get(batch.lane);
      if (batches === undefined) lanes.set(batch.lane, [batch]);
      else batches.push(batch);
    }
    this.#batches = [];
    this.#lines = 0;
    return lanes;
  }
}

function isRecent({ answeredAt = 0 }: Batch, now: number): boolean {
  return now - answeredAt < answeredMs;
}

/** A line that is not sent yet. */
interface Collected {
  readonly script: Script;
  readonly line: GiveBackLine;
  readonly once: boolean;
  readonly endsAt: number;
}

/** The give-backs of one hash slot, and the state of that slot. */
export class GiveBackLane {
  /** The key under which Redis remembers the numbers of this lane. */
  readonly memory: string;
  timer: NodeJS.Timeout | undefined;
  /** The number of failed attempts in a row. */
  failures = 0;
  /** The number of unanswered attempts. */
  underWay = 0;
  #failing = false;
  #lastNumber = 0;
  /** Unfinished batches, in ascending order of their numbers. */
  readonly #open = new Set<Batch>();
  /** Unfinished batches that are not in flight. */
  #waiting: Batch[] = [];
  #collected: Collected[] = [];

  constructor(memory: string) {
    this.memory = memory;
  }

  get failing(): boolean {
    return this.#failing;
  }

  get hasCollected(): boolean {
    return this.#collected.length > 0;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0 || this.#collected.length > 0;
  }

  /** Does Redis remember numbers of this lane? */
  get isUsed(): boolean {
    return this.#lastNumber > 0;
  }

  /** All batches up to this number are finished. */
  get low(): number {
    for (const { number } of this.#open) if (number !== 0) return number - 1;
    return this.#lastNumber;
  }

  add(script: Script, line: GiveBackLine, once: boolean): void {
    this.#collected.push({ script, line, once, endsAt: monotonicNow() + line.lifeMs });
  }

  open(script: Script, lines: readonly GiveBackLine[], once: boolean, undoes = false): Batch {
    const batch = new Batch(this, script, lines, once ? (this.#lastNumber += 1) : 0, undoes);
    this.#open.add(batch);
    return batch;
  }

  /** Opens answered batches again, to be sent before the others. */
  reopen(batches: readonly Batch[]): void {
    const again = batches.map((batch) => batch.repeat());
    this.#waiting.unshift(...again);
    const open = [...this.#open, ...again].sort((one, other) => one.number - other.number);
    this.#open.clear();
    for (const batch of open) this.#open.add(batch);
  }

  /** Makes batches of the collected lines. Lines that may run twice are apart, since they need no number. */
  compose(): Batch[] {
    const groups = new Map<Script, [twice: GiveBackLine[], once: GiveBackLine[]]>();
    for (const { script, line, once } of this.#collected) {
      let group = groups.get(script);
      if (group === undefined) groups.set(script, (group = [[], []]));
      group[once ? 1 : 0].push(line);
    }
    this.#collected = [];
    const batches: Batch[] = [];
    for (const [script, group] of groups) {
      group.forEach((lines, index) => {
        for (let start = 0; start < lines.length; start += maxLines)
          batches.push(this.open(script, lines.slice(start, start + maxLines), index === 1));
      });
    }
    return batches;
  }

  /** Returns the next batch to send. There is one if {@link hasWaiting}. */
  next(): Batch {
    if (this.#waiting.length === 0) this.#waiting = this.compose();
    return this.#waiting.shift() as Batch;
  }

  takeWaiting(): Batch[] {
    return this.#waiting.splice(0);
  }

  /** Removes a batch. Returns false if it was finished already. */
  finish(batch: Batch): boolean {
    const index = this.#waiting.indexOf(batch);
    if (index !== -1) this.#waiting.splice(index, 1);
    return this.#open.delete(batch);
  }

  /**
   * Puts a failed batch behind the others, so that one that can never run does not delay them. Returns false if it was
   * finished already.
   */
  keep(batch: Batch): boolean {
    if (!this.#open.has(batch)) return false;
    if (!this.#waiting.includes(batch)) this.#waiting.push(batch);
    return true;
  }

  fail(): void {
    this.#failing = true;
    this.failures += 1;
  }

  recover(): void {
    this.#failing = false;
    this.failures = 0;
  }

  /** Drops lines whose window has ended. Returns their number. */
  dropEnded(): number {
    const now = monotonicNow();
    let dropped = 0;
    for (const batch of this.#waiting.filter(({ hasEnded }) => hasEnded)) {
      this.finish(batch);
      dropped += batch.lines.length;
    }
    const live = this.#collected.filter(({ endsAt }) => endsAt > now);
    dropped += this.#collected.length - live.length;
    this.#collected = live;
    return dropped;
  }
}
