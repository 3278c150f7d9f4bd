import { AsyncLocalStorage } from "node:async_hooks";
import type { Duration } from "../lib/duration.js";
import { checkFunction, checkObject, checkOneOf, optionError, rangeError } from "../lib/validate.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { HeldLock } from "./held-lock.js";
import type { LockLossReason } from "./lock-error.js";
import { LockError, LockLostError } from "./lock-error.js";
import type { LockDemand } from "./lock-options.js";
import { leaseOf, nameOf } from "./lock-options.js";
import type { LockService } from "./locks.js";
import { clearTimeout, queueMicrotask, setTimeout } from "../lib/real-timers.js";

/** Options of `leader()`. */
export interface LeaderOptions {
  /**
   * How long a leader leads without a confirmation: 100 ms to 1 day. It is confirmed at each third of this time. After the
   * death of the leader, another process leads within this time. @default "15s"
   */
  readonly lease?: Duration | undefined;
}

/** The begin of a term. */
export interface Elected {
  /** The fence of the leadership: a number that grows with each new leader. */
  readonly fence: number;
}

/** The end of a term. */
export interface LeadershipLost {
  /** The fence of the leadership that was lost. */
  readonly fence: number;
  /** `released`: resigned; the others as for a lock. */
  readonly reason: LockLossReason;
}

/** The events of a leader, by name. */
export interface LeaderEvents {
  /** A term has begun. */
  readonly elected: Elected;
  /** A term has ended. */
  readonly lost: LeadershipLost;
}

type Listeners = { readonly [E in keyof LeaderEvents]: Set<(event: LeaderEvents[E]) => void> };

/** Work of the leader. The signal is aborted at the end of the term. */
export type LeaderTask = (signal: AbortSignal, fence: number) => unknown;

/**
 * One candidate for the leadership of a name: among all processes of the service that have started one, at most one leads.
 * As with locks, a leader that stands still may be succeeded without knowing it: send `fence` with every write.
 */
export interface Leader {
  /** Name of the leadership. */
  readonly name: string;
  /** Does this process lead now, by its monotonic clock? */
  readonly isLeader: boolean;
  /** The fence of the present term: higher than that of every earlier leader. Undefined if this process does not lead. */
  readonly fence: number | undefined;
  /** The signal of the present term, which is aborted at its end. Undefined if this process does not lead. */
  readonly signal: AbortSignal | undefined;
  /** Stands for election, until `close()`. Never throws while the store is unavailable: the candidate tries again. */
  start(): void;
  /**
   * Calls a function once in each term, and stands for election. If the function rejects during its term, the leader
   * resigns, so that another process may try. The next term of this process begins after the function has ended.
   */
  run(task: LeaderTask): void;
  /** Calls a listener at each begin or end of a term. Returns a function that removes the listener. */
  on<E extends keyof LeaderEvents>(event: E, listener: (event: LeaderEvents[E]) => void): () => void;
  /**
   * Ends the present term: aborts its signal, waits for the functions of `run()`, and lets another process lead. This
   * process stands for election again after a third of the lease. Does nothing if this process does not lead. In a function
   * of `run()` it does not wait for the functions; another process leads when they have ended.
   */
  resign(): Promise<void>;
  /** Resigns, and stands for no further election. Waits for the functions of `run()` for a quarter of a second at most. */
  close(): Promise<void>;
}

/** Maximum number of names for which one gate has candidates. */
const maxLeaders = 100;
/** How long closing waits for the functions of `run()`. All steps of closing a gate have a second. */
const closeTimeoutMs = 250;
const minRetryMs = 50;
const maxRetryMs = 1000;

/** One term of this process. */
interface Term {
  readonly lock: HeldLock;
  readonly abort: AbortController;
  readonly tasks: Set<Promise<void>>;
  /** Resolves when the lock is given back after a resignation. */
  handedOver?: Promise<void>;
}

/** The term whose function is running. */
const running = new AsyncLocalStorage<Term>();

/** A candidate on the lock store. */
export class Candidate implements Leader {
  readonly name: string;
  readonly leaseMs: number;
  readonly #locks: LockService;
  readonly #telemetry: Telemetry;
  readonly #logger: Logger;
  readonly #onClose: () => void;
  readonly #tasks: LeaderTask[] = [];
  readonly #listeners: Listeners = { elected: new Set(), lost: new Set() };
  readonly #stop = new AbortController();
  #standing: Promise<void> | undefined;
  #term: Term | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    name: string,
    leaseMs: number,
    { locks, telemetry, logger, onClose }: LeaderServiceOptions & { onClose: () => void },
  ) {
    this.name = name;
    this.leaseMs = leaseMs;
    this.#locks = locks;
    this.#telemetry = telemetry;
    this.#logger = logger;
    this.#onClose = onClose;
  }

  get isLeader(): boolean {
    return this.#present !== undefined;
  }

  get fence(): number | undefined {
    return this.#present?.lock.fence;
  }

  get signal(): AbortSignal | undefined {
    return this.#present?.abort.signal;
  }

  start(): void {
    if (this.#closing !== undefined) throw new LockError("lock_closed", "the leader is closed");
    this.#standing ??= this.#stand();
  }

  run(task: LeaderTask): void {
    checkFunction("leader.run()", task);
    this.start();
    this.#tasks.push(task);
    const term = this.#present;
    if (term !== undefined) this.#begin(term, task);
  }

  on<E extends keyof LeaderEvents>(event: E, listener: (event: LeaderEvents[E]) => void): () => void {
    checkOneOf("leader.on()", event, ["elected", "lost"]);
    checkFunction("leader.on()", listener);
    const listeners: Listeners[E] = this.#listeners[event];
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  async resign(): Promise<void> {
    const term = this.#term;
    if (term === undefined) return;
    if (term === this.#present) {
      this.#end(term, "released");
      term.handedOver = this.#handOver(term);
    }
    // A function that waited for its own end would never end, and nobody would lead.
    if (running.getStore() !== term) await term.handedOver;
  }

  async #handOver(term: Term): Promise<void> {
    // A function that resigns at its very begin is not among the tasks yet.
    await Promise.resolve();
    while (term.tasks.size > 0) await Promise.all(term.tasks);
    await term.lock.release();
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#stop.abort(new LockError("lock_closed"));
    this.#onClose();
    const term = this.#term;
    if (term === undefined) return;
    this.#end(term, "released");
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, closeTimeoutMs)));
    await Promise.race([Promise.all(term.tasks), timeout]);
    clearTimeout(timer);
    await term.lock.release();
  }

  /** The present term, if it has neither ended nor been given up. */
  get #present(): Term | undefined {
    const term = this.#term;
    return term?.lock.isHeld === true && !term.abort.signal.aborted ? term : undefined;
  }

  async #stand(): Promise<void> {
    const demand: LockDemand = {
      ...{ family: "leader", names: [this.name], leaseMs: this.leaseMs, waitMs: Number.POSITIVE_INFINITY },
      ...{ autoExtend: true, maxHoldMs: Number.POSITIVE_INFINITY, signal: this.#stop.signal },
    };
    while (!this.#stop.signal.aborted) {
      try {
        await this.#lead(await this.#locks.obtain(demand));
      } catch (error) {
        if (error instanceof LockError && error.code === "lock_closed") return;
        if (!(error instanceof StoreFault || error instanceof LockError)) throw error;
        await this.#pause(Math.min(maxRetryMs, Math.max(minRetryMs, this.leaseMs / 6)));
      }
    }
  }

  /** Leads until the term ends and its tasks have ended. */
  async #lead(lock: HeldLock): Promise<void> {
    if (this.#stop.signal.aborted) {
      await lock.release();
      return;
    }
    const term: Term = { lock, abort: new AbortController(), tasks: new Set() };
    this.#term = term;
    this.#telemetry.leaderChanged("elected");
    const ended = new Promise<void>((resolve) =>
      term.abort.signal.addEventListener("abort", () => resolve(), { once: true }),
    );
    lock.signal.addEventListener("abort", () => this.#end(term, lock.lossReason ?? "closed"), { once: true });
    // run() begins the functions that it gets from a listener or from a function, and either may resign.
    const tasks = [...this.#tasks];
    this.#tell("elected", { fence: lock.fence });
    for (const task of tasks) if (!term.abort.signal.aborted) this.#begin(term, task);
    await ended;
    while (term.tasks.size > 0) await Promise.all(term.tasks);
    if (this.#term === term) this.#term = undefined;
    if (lock.lossReason === undefined) await this.#pause(this.leaseMs / 3);
  }

  #begin(term: Term, task: LeaderTask): void {
    const ended = (async () => {
      try {
        await running.run(term, task, term.abort.signal, term.lock.fence);
      } catch (error) {
        if (term.abort.signal.aborted) return;
        this.#logger.warn({ err: error }, "portcullis: a function of a leader failed, so the leader resigns");
        queueMicrotask(() => void this.resign());
      }
    })();
    term.tasks.add(ended);
    void ended.then(() => term.tasks.delete(ended));
  }

  #end(term: Term, reason: LockLossReason): void {
    if (term.abort.signal.aborted) return;
    term.abort.abort(new LockLostError(reason));
    this.#telemetry.leaderChanged(reason === "released" || reason === "closed" ? "resigned" : "lost");
    this.#tell("lost", { fence: term.lock.fence, reason });
  }

  #tell<E extends keyof LeaderEvents>(event: E, message: LeaderEvents[E]): void {
    const listeners: Listeners[E] = this.#listeners[event];
    for (const listener of [...listeners]) {
      try {
        listener(message);
      } catch (error) {
        this.#logger.warn({ err: error }, "portcullis: a listener of a leader threw");
      }
    }
  }

  /** The timer need not keep the process alive: a candidate is no work. */
  async #pause(ms: number): Promise<void> {
    const { signal } = this.#stop;
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms * (0.75 + Math.random() / 2)).unref();
      signal.addEventListener("abort", done);
    });
  }
}

export interface LeaderServiceOptions {
  readonly locks: LockService;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/** The candidates of a gate, one for each name. */
export class LeaderService {
  readonly #options: LeaderServiceOptions;
  readonly #candidates = new Map<string, Candidate>();

  constructor(options: LeaderServiceOptions) {
    this.#options = options;
  }

  /** The candidate of a name: the same one for each call, until it is closed. */
  candidate(name: string, options: LeaderOptions = {}): Leader {
    nameOf("leader()", name);
    checkObject("leader()", options, ["lease"]);
    const { lease = "15s" } = options;
    const leaseMs = leaseOf("leader().lease", lease);
    const known = this.#candidates.get(name);
    if (known !== undefined) {
      if (known.leaseMs === leaseMs) return known;
      throw optionError(
        "leader().lease",
        "differs from an earlier call with this name; keep the first leader and use it",
      );
    }
    if (this.#candidates.size >= maxLeaders)
      throw rangeError("leader()", `takes at most ${maxLeaders} names; close() those that are not needed`);
    const candidate = new Candidate(name, leaseMs, {
      ...this.#options,
      onClose: () => {
        if (this.#candidates.get(name) === candidate) this.#candidates.delete(name);
      },
    });
    this.#candidates.set(name, candidate);
    return candidate;
  }

  /** Resigns everywhere, so that other processes lead at once. */
  async close(): Promise<void> {
    await Promise.all([...this.#candidates.values()].map((candidate) => candidate.close()));
  }
}
