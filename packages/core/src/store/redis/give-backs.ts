import { randomBytes } from "node:crypto";
import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { StoreFault } from "../ports/fault.js";
import type { Connection } from "./connect.js";
import { faultOfError, faultOfPart, textIn } from "./replies.js";
import type { Arguments, Batch, CallArguments, GiveBackLine } from "./give-back-lane.js";
import { AnsweredBatches, GiveBackLane } from "./give-back-lane.js";
import { hashTag } from "./hash-slot.js";
import type { Script } from "./scripts/lua.js";
import { runScript } from "./run-script.js";
import { clearTimeout, monotonicNow, pause, setImmediate, setTimeout } from "../../lib/real-timers.js";

export interface GiveBacksOptions {
  readonly connection: Connection;
  /** The key of the numbers of a process, in the hash slot of this tag. */
  readonly memoryKey: (tag: string, process: string) => string;
  /** Do writes work? While they do not, one call at a time is sent. */
  readonly isWell: () => boolean;
  /** False while an operator holds the circuit breaker open. */
  readonly mayCall: () => boolean;
  /** How long the decision may take whether a call is undone. @default one minute, the maximum of a login attempt */
  readonly decisionMs?: number | undefined;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/**
 * Maximum number of give-backs of one process that wait or are in flight. Further ones are lost, and counted in a
 * metric.
 */
const maxHeld = 10_000;
/** After this time an unanswered attempt is repeated. */
const attemptTimeoutMs = 1000;
const minPauseMs = 50;
const maxPauseMs = 1000;
/**
 * How long closing waits for the last attempts. With the other timeouts it is less than the second that closing may
 * take.
 */
const quitTimeoutMs = 300;
/** When a slot of unknown state is given back once more: the first give-back may have overtaken the count. */
const againMs = 2000;
/** How long Redis remembers the numbers of a closed process. */
const memoryAfterCloseMs = 60_000;
const maxDecisionMs = 60_000;
/** The hash tag of all keys without a Cluster. */
const onlyTag = "0";

/** A call whose reply was lost. */
export interface LostCall {
  /**
   * Gives back the chosen lines, once, if the call has run or will run. Only the first call of `undo` counts. Without
   * one within a minute, nothing is given back.
   */
  undo(chosen: (line: GiveBackLine) => boolean): void;
}

/** The reply of a call that may be undone. `lost` exists only if the reply was lost. */
export interface Tentative<T> {
  readonly reply: T | StoreFault;
  readonly lost?: LostCall | undefined;
}

/**
 * Corrections of counts in Redis: slots, refunds, adjusted consumptions and leases. The lines of one turn of the event
 * loop are one call; in a Cluster, one for each hash slot. A failed call is repeated until Redis has answered it, or
 * until its window has ended. Redis remembers its number, so that it takes effect once, even if only its reply was
 * lost. The last answered calls are repeated on each new connection, since a failover may have lost them with their
 * numbers. No request waits for a give-back.
 */
export class GiveBacks {
  readonly #options: GiveBacksOptions;
  readonly #process = randomBytes(9).toString("base64url");
  readonly #lanes = new Map<string, GiveBackLane>();
  readonly #answered = new AnsweredBatches();
  readonly #underWay = new Set<Promise<void>>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #stopListening: () => void;
  #scheduled = false;
  #held = 0;
  #hasWarned = false;
  #closing: Promise<void> | undefined;

  constructor(options: GiveBacksOptions) {
    this.#options = options;
    this.#stopListening = options.connection.onConnect(() => {
      this.#repeatAnswered();
      for (const lane of this.#lanes.values()) this.#retrySoon(lane);
    });
  }

  /** The number of give-backs that wait or are in flight. */
  get held(): number {
    return this.#held;
  }

  /** Sends a line together with the others of this turn. `once` is false for a line that may run twice without harm. */
  push(script: Script, line: GiveBackLine, once: boolean): void {
    if (this.#closing !== undefined || !this.#takes(1)) return;
    const lane = this.#laneOf(line.key);
    lane.add(script, line, once);
    if (lane.failing) this.#pause(lane);
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    }
  }

  /**
   * Makes the first attempt by `call`, for a caller that waits for its result, and repeats a failed attempt later.
   * Resolves to the result of `call`. The keys of the lines share a hash slot.
   */
  async attempt(
    script: Script,
    lines: readonly GiveBackLine[],
    call: (...words: Arguments) => Promise<unknown>,
  ): Promise<unknown> {
    const [first] = lines;
    if (first === undefined || this.#closing !== undefined || !this.#takes(lines.length))
      return call(...withoutNumber(wordsOf(lines)));
    const batch = this.#laneOf(first.key).open(script, lines, true);
    const reply = await call(...batch.encode());
    if (reply instanceof StoreFault && !isFinal(reply)) this.#keep(batch);
    else this.#finish(batch, !(reply instanceof StoreFault));
    return reply;
  }

  /**
   * Makes a call that counts. If its reply is lost, the caller may give its counts back by `script` and `lines`: Redis
   * knows by the number of the call whether it has run, and prevents a later run. All keys share a hash slot.
   */
  async tentatively<T>(
    script: Script,
    lines: readonly GiveBackLine[],
    [keys, args]: CallArguments,
    call: (...words: Arguments) => Promise<T | StoreFault>,
  ): Promise<Tentative<T>> {
    const [first] = lines;
    const isFull = this.#held + lines.length > maxHeld;
    if (first === undefined || this.#closing !== undefined || isFull) {
      const reply = await call(...withoutNumber([keys, args]));
      if (isFull && reply instanceof StoreFault && reply.mayHaveRun) this.#miss(lines.length);
      return { reply };
    }
    this.#held += lines.length;
    const batch = this.#laneOf(first.key).open(script, lines, true, true);
    const reply = await call(...batch.encodeCall([keys, args]));
    if (!(reply instanceof StoreFault)) this.#finish(batch, false);
    else if (!reply.mayHaveRun || this.#isClosing) this.#drop(batch);
    else return { reply, lost: this.#lose(batch) };
    return { reply };
  }

  #lose(batch: Batch): LostCall {
    let isDecided = false;
    const { decisionMs = maxDecisionMs } = this.#options;
    const timer = this.#later(decisionMs, () => decide(() => false));
    const decide = (chosen: (line: GiveBackLine) => boolean): void => {
      if (isDecided || this.#closing !== undefined) return;
      isDecided = true;
      this.#cancel(timer);
      this.#held -= batch.narrow(chosen);
      if (batch.lines.length === 0) return this.#drop(batch);
      if (this.#isWell() && !batch.lane.failing) void this.#try(batch);
      else this.#keep(batch);
    };
    return { undo: decide };
  }

  /** Sends all give-backs for a short time, also on a new connection. Later ones are lost. */
  async close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#stopListening();
    const { connection, mayCall } = this.#options;
    for (const timer of this.#timers) clearTimeout(timer);
    if (mayCall()) await this.#sendLast();
    if (mayCall() && connection.isUp())
      for (const { memory, isUsed } of this.#lanes.values())
        if (isUsed) connection.client.call("PEXPIRE", memory, memoryAfterCloseMs).catch(() => undefined);
    this.#forget();
  }

  /** Sends the last attempts. A call in flight may be on a dead connection, so that it is repeated on a new one. */
  async #sendLast(): Promise<void> {
    const { connection } = this.#options;
    const lanes = [...this.#lanes.values()];
    const endsAt = monotonicNow() + quitTimeoutMs;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, quitTimeoutMs)));
    while (this.#underWay.size > 0 || lanes.some(({ hasWaiting }) => hasWaiting)) {
      if (connection.isUp()) {
        for (const lane of lanes) this.#sendAll(lane);
        await Promise.race([Promise.all(this.#underWay), timeout]);
      } else await Promise.race([this.#connected(), timeout]);
      if (monotonicNow() >= endsAt) break;
      // A call that fails at once must not be repeated in a loop.
      if (lanes.some(({ hasWaiting }) => hasWaiting)) await pause(minPauseMs);
    }
    clearTimeout(timer);
  }

  /** Resolves when a connection is made. */
  async #connected(): Promise<void> {
    await new Promise<void>((resolve) => {
      const stop = this.#options.connection.onConnect(() => {
        stop();
        resolve();
      });
    });
  }

  #forget(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#lanes.clear();
    this.#held = 0;
  }

  #takes(lines: number): boolean {
    if (this.#held + lines <= maxHeld) {
      this.#held += lines;
      return true;
    }
    this.#miss(lines);
    return false;
  }

  #miss(lines: number): void {
    const { telemetry, logger } = this.#options;
    telemetry.giveBacksLost(lines);
    if (!this.#hasWarned)
      logger.warn({ held: this.#held }, "portcullis: too many give-backs wait for Redis; further ones are lost");
    this.#hasWarned = true;
  }

  #laneOf(key: string): GiveBackLane {
    const tag = this.#options.connection.isCluster ? hashTag(key) : onlyTag;
    const known = this.#lanes.get(tag);
    if (known !== undefined) return known;
    const lane = new GiveBackLane(this.#options.memoryKey(tag, this.#process));
    this.#lanes.set(tag, lane);
    return lane;
  }

  #flush(): void {
    this.#scheduled = false;
    if (this.#closing !== undefined) return;
    const isWell = this.#isWell();
    for (const lane of this.#lanes.values()) {
      if (lane.failing || !lane.hasCollected) continue;
      if (isWell) this.#sendAll(lane);
      else this.#fail(lane);
    }
  }

  get #isClosing(): boolean {
    return this.#closing !== undefined;
  }

  #isWell(): boolean {
    return this.#options.connection.isUp() && this.#options.isWell();
  }

  #sendAll(lane: GiveBackLane): void {
    for (const batch of [...lane.takeWaiting(), ...lane.compose()]) void this.#try(batch);
  }

  /** Sends a batch. Resolves at the answer, or at the timeout of the attempt. */
  #try(batch: Batch): Promise<void> {
    const attempt = new Promise<void>((resolve) => {
      let isOver = false;
      const end = (fault: StoreFault | undefined): void => {
        // A reply after the timeout still says that the batch has run.
        if (fault === undefined || isFinal(fault)) this.#finish(batch, fault === undefined);
        else if (!isOver) this.#keep(batch);
        if (!isOver) resolve();
        isOver = true;
        this.#cancel(timer);
      };
      const timer = this.#later(attemptTimeoutMs, () => end(new StoreFault("timeout")));
      runScript(this.#options.connection.client, batch.script, ...batch.encode()).then(
        (reply) => end(textIn(reply) === "OK" ? undefined : faultOfPart(reply)),
        (error: unknown) => end(faultOfError(error)),
      );
    });
    this.#underWay.add(attempt);
    batch.lane.underWay += 1;
    void attempt.then(() => {
      this.#underWay.delete(attempt);
      batch.lane.underWay -= 1;
    });
    return attempt;
  }

  /** Finishes an answered batch. `mayBeLost`: its effect may be lost in a failover. */
  #finish(batch: Batch, mayBeLost: boolean): void {
    const { lane, script } = batch;
    if (!lane.finish(batch) || this.#closing !== undefined) return;
    this.#held -= batch.lines.length;
    const again = batch.answeredAt === undefined ? batch.lines.filter(({ twice }) => twice === true) : [];
    if (mayBeLost) this.#answered.add(batch);
    if (again.length > 0)
      this.#later(againMs, () => {
        for (const line of again) this.push(script, { ...line, twice: undefined }, false);
      });
    if (!lane.failing) return;
    lane.recover();
    this.#sendAll(lane);
  }

  /** Removes an unanswered batch that will not be sent again. */
  #drop(batch: Batch): void {
    if (batch.lane.finish(batch) && this.#closing === undefined) this.#held -= batch.lines.length;
  }

  #keep(batch: Batch): void {
    if (batch.lane.keep(batch)) this.#fail(batch.lane);
  }

  #fail(lane: GiveBackLane): void {
    lane.fail();
    this.#pause(lane);
  }

  #pause(lane: GiveBackLane): void {
    if (lane.timer !== undefined || this.#closing !== undefined) return;
    const pauseMs = Math.min(maxPauseMs, minPauseMs * 2 ** Math.min(lane.failures, 10));
    lane.timer = this.#later(pauseMs * (0.75 + Math.random() / 4), () => this.#retry(lane));
  }

  #repeatAnswered(): void {
    const isWell = this.#isWell();
    for (const [lane, batches] of this.#answered.take()) {
      const lines = batches.reduce((sum, batch) => sum + batch.lines.length, 0);
      if (this.#held + lines > maxHeld) continue;
      this.#held += lines;
      lane.reopen(batches);
      if (isWell && !lane.failing) this.#sendAll(lane);
      else if (!lane.failing) this.#fail(lane);
    }
  }

  /** Retries at once, since a connection was made. */
  #retrySoon(lane: GiveBackLane): void {
    if (!lane.failing) return;
    lane.failures = 0;
    this.#retry(lane);
  }

  /** Sends one batch; the others follow if it is answered. */
  #retry(lane: GiveBackLane): void {
    if (lane.timer !== undefined) this.#cancel(lane.timer);
    lane.timer = undefined;
    this.#held -= lane.dropEnded();
    const { connection, mayCall } = this.#options;
    if (lane.underWay > 0) return this.#pause(lane);
    if (!lane.hasWaiting) return lane.recover();
    if (connection.isUp() && mayCall()) void this.#try(lane.next());
    else this.#fail(lane);
  }

  #later(ms: number, act: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms).unref();
    this.#timers.add(timer);
    return timer;
  }

  #cancel(timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }
}

/**
 * Has the call run, although its reply is a fault? Only if a key holds a value of another type. Any other error may
 * come from a proxy, or from a server that did nothing; a repeated call does no harm.
 */
function isFinal({ kind, reply }: StoreFault): boolean {
  return kind === "unreadable" && reply === "WRONGTYPE";
}

/** Encodes a call that is never repeated, and never undone. */
export function withoutNumber([keys, args]: CallArguments): Arguments {
  return [
    [keys[0] ?? "", ...keys],
    [0, 0, 0, 0, ...args],
  ];
}

/** The keys and arguments of all lines, for one script call. */
export function wordsOf(lines: readonly GiveBackLine[]): CallArguments {
  return [lines.map(({ key }) => key), lines.flatMap(({ args }) => args)];
}
