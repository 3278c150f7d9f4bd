import { StoreFault } from "../ports/fault.js";
import type { Cause } from "./outages.js";
import { clearInterval, clearTimeout, monotonicNow, setInterval, setTimeout } from "../../lib/real-timers.js";

/** Milliseconds. Either clock may stand still with the process: it depends on how the process is stopped. */
export interface Clocks {
  readonly monotonic: () => number;
  readonly wall: () => number;
}

/** Read at import: fake timers of a test are no standstill. */
const realClocks: Clocks = { monotonic: monotonicNow, wall: Date.now };

/** Interval of the beats that show that the process runs. */
const beatMs = 1000;
/** Without a beat for so long, the process stood still: servers and devices between may have dropped its connections. */
const standstillMs = 5000;

/** Maximum number of calls that wait for one connection (bulkhead). Further calls fail at once. */
export const maxWaiting = 4096;

/** A call that waits for the connection. */
export interface WaitingCall {
  /** Has it entered? Calls of the background have not: they are few, and must not fail because requests are many. */
  readonly isCounted: boolean;
  /** Called once, when calls may be made. */
  begin(): void;
  /** Called once, when the connection is closed before. */
  end(): void;
}

export interface ConnectionWaitOptions {
  /** How long a call waits for the first connection after the wait, or after an attempt to make the connection has failed. */
  readonly deadlineMs: number;
  /** How long calls wait for a connection that is being made and has not failed, from the first of these calls. */
  readonly connectDeadlineMs: number;
  /** Does the connection work already? */
  readonly isConnected: boolean;
  /** Called after a standstill. It must find out whether the connection still works, and then call `connected()`. */
  readonly check: () => void;
  /** @default those of the process */
  readonly clocks?: Clocks;
}

/**
 * `first`: the first connection is being made. `failing`: an attempt to make the first connection has failed, or took too
 * long. `made`: calls do not wait. `checked`: the process stood still, and the connection is checked, or made again.
 */
type Phase = "first" | "failing" | "made" | "checked";

/**
 * How long calls wait for the connection: at the start, and once after the process stood still, as a serverless function
 * does between its requests. On a connection that is lost otherwise, calls fail at once.
 *
 * A wait begins with the first call for a request, and all calls share it: a later call has the rest, and at least its
 * deadline. So a request that makes several calls waits no longer than one that makes one call, and no outage lets each
 * request wait for `connectDeadlineMs`.
 */
export class ConnectionWait {
  readonly #options: ConnectionWaitOptions;
  readonly #listeners = new Set<() => void>();
  readonly #calls = new Set<WaitingCall>();
  /** The number of calls that wait. */
  #size = 0;
  #isClosed = false;
  readonly #clocks: Clocks;
  readonly #timer: NodeJS.Timeout;
  #phase: Phase;
  #beatAt = 0;
  #beatAtWall = 0;
  /** Ends the wait, from its first call. */
  #end: NodeJS.Timeout | undefined;
  #endsAt = 0;

  constructor(options: ConnectionWaitOptions) {
    this.#options = options;
    this.#clocks = options.clocks ?? realClocks;
    this.#phase = options.isConnected ? "made" : "first";
    this.#beat();
    this.#timer = setInterval(() => this.beat(), beatMs);
    this.#timer.unref();
  }

  /** Milliseconds for which a call that begins now may wait for the connection; 0 if it is made at once. */
  get ms(): number {
    const ms = this.backgroundMs;
    if (ms === 0 || !this.isPromising || this.#end !== undefined || this.#isClosed) return ms;
    this.#endsAt = this.#clocks.monotonic() + ms;
    this.#end = setTimeout(() => this.#giveUp(), ms).unref();
    return ms;
  }

  /** The same for a call for which no request waits: it does not begin the wait. */
  get backgroundMs(): number {
    const { deadlineMs, connectDeadlineMs } = this.#options;
    if (this.#phase === "made" && this.#hasStoodStill()) this.#checkConnection();
    if (this.#phase === "made") return 0;
    if (this.#phase === "failing") return deadlineMs;
    if (this.#end === undefined) return connectDeadlineMs;
    return Math.max(deadlineMs, this.#endsAt - this.#clocks.monotonic());
  }

  /** May calls be made? It does not notice a standstill: `ms` does. */
  get isOver(): boolean {
    return this.#phase === "made";
  }

  /** Is a connection being made, of which nobody knows yet whether it fails? */
  get isPromising(): boolean {
    return this.#phase === "first" || this.#phase === "checked";
  }

  /** Calls the listener whenever calls may be made after a wait. Returns a function that removes the listener. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The number of calls that wait. */
  get size(): number {
    return this.#size;
  }

  /** Counts a call that waits, until `leave`. Returns the fault of a call that must not wait. */
  enter(): StoreFault | undefined {
    if (this.#isClosed) return new StoreFault("unreachable");
    if (this.#size >= maxWaiting) return new StoreFault("overloaded");
    this.#size += 1;
    return undefined;
  }

  leave(calls = 1): void {
    this.#size -= calls;
  }

  /** Begins or ends a call when the wait is over; ends it at once after `close`, or its timer would keep the process alive. */
  add(call: WaitingCall): void {
    if (this.#isClosed) call.end();
    else this.#calls.add(call);
  }

  /** Forgets a call that waits no longer. */
  remove(call: WaitingCall): void {
    if (this.#calls.delete(call) && call.isCounted) this.leave();
  }

  /** Calls may be made: the connection is made, or it still works. */
  connected(): void {
    if (this.#phase !== "made") this.#move("made");
  }

  /** An attempt to connect has failed. */
  failed({ reason }: Cause): void {
    // A process that is busy, as at its start, may read the answer of the server too late.
    const isLate = reason === "ETIMEDOUT" || reason === "no answer";
    if (!isLate && this.isPromising) this.#giveUp();
  }

  /** Notes that the process runs. A change of the wall clock alone is no standstill. */
  beat(): void {
    const stoodStill = this.#clocks.monotonic() - this.#beatAt > standstillMs;
    if (stoodStill && this.#phase === "made") this.#checkConnection();
    else this.#beat();
  }

  /** Ends all calls that wait. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#end);
    this.#listeners.clear();
    for (const call of this.#takeCalls()) call.end();
  }

  #beat(): void {
    this.#beatAt = this.#clocks.monotonic();
    this.#beatAtWall = this.#clocks.wall();
  }

  #hasStoodStill(): boolean {
    const { monotonic, wall } = this.#clocks;
    return monotonic() - this.#beatAt > standstillMs || wall() - this.#beatAtWall > standstillMs;
  }

  #checkConnection(): void {
    this.#beat();
    this.#move("checked");
    this.#options.check();
  }

  /** The wait is over without a connection: from now on calls fail at once, or wait no longer than for an answer. */
  #giveUp(): void {
    this.#move(this.#phase === "checked" ? "made" : "failing");
  }

  #move(phase: Phase): void {
    clearTimeout(this.#end);
    this.#end = undefined;
    this.#phase = phase;
    if (phase !== "made") return;
    for (const listener of [...this.#listeners]) listener();
    for (const call of this.#takeCalls()) call.begin();
  }

  #takeCalls(): WaitingCall[] {
    const calls = [...this.#calls];
    this.#calls.clear();
    for (const { isCounted } of calls) if (isCounted) this.leave();
    return calls;
  }
}
