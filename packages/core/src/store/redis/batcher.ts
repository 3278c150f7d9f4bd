import type { Breaker } from "../../lib/breaker.js";
import type { FaultKind } from "../ports/fault.js";
import { StoreFault } from "../ports/fault.js";
import type { ConnectionWait } from "./connection-wait.js";
import { faultOfError } from "./replies.js";
import { clearTimeout, monotonicNow, setImmediate, setTimeout } from "../../lib/real-timers.js";

export interface BatcherOptions<Item, Answer> {
  /** Sends a batch in one round trip. Resolves to the answers in order; a rejection is a fault of the whole batch. */
  readonly send: (items: readonly Item[]) => Promise<readonly (Answer | StoreFault)[]>;
  readonly breaker: Breaker;
  /** Judges answers that came in time, and informs the breaker. @default they are a success */
  readonly judge?: (items: readonly Item[], answers: readonly (Answer | StoreFault)[]) => void;
  /** Called when a batch has failed, with the fault. */
  readonly giveUp?: (items: readonly Item[], fault: StoreFault) => void;
  /** Takes the answer of an item that {@link Batcher.add} has got. Throws nothing. */
  readonly settle?: (item: Item, answer: Answer | StoreFault) => void;
  /** Called after every batch, answered or not. */
  readonly observe?: (call: BatchCall) => void;
  /** How long batches wait for the connection; undefined if they never do. */
  readonly wait?: Pick<ConnectionWait, "ms" | "isOver"> | undefined;
  readonly deadlineMs: number;
  readonly maxBatch: number;
  /**
   * Maximum number of batches in flight: a slow batch does not delay the next one, and the process works while the store
   * does. Those that wait here are not counted after their deadline.
   */
  readonly maxInFlight: number;
}

export interface BatchCall {
  readonly questions: number;
  readonly durationMs: number;
  /** Undefined if the batch was answered. */
  readonly fault: FaultKind | undefined;
}

/** Maximum number of items that wait or are in flight (bulkhead): 64 full batches. Further items fail at once. */
const maxPending = 4096;

/** On a busy machine timers may be late by this much. */
const stallMs = 50;

type Resolve<Answer> = (answer: Answer | StoreFault) => void;

interface Batch<Item, Answer> {
  readonly items: readonly Item[];
  /** In the order of the items; undefined for those that `settle` takes. */
  readonly resolvers: readonly (Resolve<Answer> | undefined)[];
  readonly turn: Turn;
  /** Milliseconds from a monotonic clock. */
  readonly since: number;
  sent: boolean;
  isDone: boolean;
}

/** The state that the batches of one turn of the event loop share. */
interface Turn {
  /** The number of batches without an answer. */
  open: number;
  /**
   * The deadline has passed. A batch that was not sent must not be sent any more: it would count although its callers
   * failed.
   */
  expired: boolean;
  /** The breaker has noted a failure: one stall is one failure, however many batches it delays. */
  failed: boolean;
  /** The event loop of this process was blocked for longer than the deadline. */
  stalled: boolean;
  deadline: NodeJS.Timeout;
}

/**
 * Combines the items of concurrent requests in few calls. Items are collected during a turn of the event loop and sent
 * in `setImmediate`, after the poll phase has read every ready socket. One deadline timer serves the whole turn. A
 * reply after the deadline is dropped, and is no success for the breaker.
 */
export class Batcher<Item, Answer> {
  readonly #options: BatcherOptions<Item, Answer>;
  #items: Item[] = [];
  #resolvers: (Resolve<Answer> | undefined)[] = [];
  readonly #waiting: Batch<Item, Answer>[] = [];
  #inFlight = 0;
  #pending = 0;
  #closed = false;

  constructor(options: BatcherOptions<Item, Answer>) {
    this.#options = options;
  }

  /** Resolves within the deadline, to the answer or a fault. Never rejects. */
  ask(item: Item): StoreFault | Promise<Answer | StoreFault> {
    return this.#refuse() ?? new Promise((resolve) => this.#collect(item, resolve));
  }

  /** The same, but rejects with the fault. */
  askOrReject(item: Item): Promise<Answer> {
    const refused = this.#refuse();
    if (refused !== undefined) return Promise.reject(refused);
    return new Promise((resolve, reject) => {
      this.#collect(item, (answer) => (answer instanceof StoreFault ? reject(answer) : resolve(answer)));
    });
  }

  /** Asks without a promise: `settle` gets the answer or the fault. */
  add(item: Item): void {
    const refused = this.#refuse();
    if (refused === undefined) this.#collect(item, undefined);
    else this.#options.settle?.(item, refused);
  }

  #refuse(): StoreFault | undefined {
    if (this.#closed) return new StoreFault("unreachable");
    if (this.#pending >= maxPending) return new StoreFault("overloaded");
    return this.#options.breaker.enter() ? undefined : new StoreFault("open");
  }

  #collect(item: Item, resolve: Resolve<Answer> | undefined): void {
    this.#pending += 1;
    if (this.#items.length === 0) setImmediate(this.#flush);
    this.#items.push(item);
    this.#resolvers.push(resolve);
  }

  /**
   * Sends waiting batches, as far as the connection and the limit of batches allow. Called again when a wait for the
   * connection ends.
   */
  readonly wake = (): void => {
    const { wait, maxInFlight } = this.#options;
    while (this.#inFlight < maxInFlight && (wait === undefined || wait.isOver)) {
      const batch = this.#waiting[0];
      // An expired batch is resolved soon, which calls this function again.
      if (batch === undefined || batch.turn.expired) return;
      this.#waiting.shift();
      this.#send(batch);
    }
  };

  close(): void {
    this.#flush();
    this.#closed = true;
    for (const batch of [...this.#waiting]) this.#fail(batch, new StoreFault("unreachable"));
  }

  readonly #flush = (): void => {
    const items = this.#items;
    const resolvers = this.#resolvers;
    if (items.length === 0) return;
    this.#items = [];
    this.#resolvers = [];
    const { maxBatch, wait } = this.#options;
    const deadlineMs = Math.max(this.#options.deadlineMs, wait?.ms ?? 0);
    const batches: Batch<Item, Answer>[] = [];
    const since = monotonicNow();
    const due = since + deadlineMs;
    const turn: Turn = {
      open: Math.ceil(items.length / maxBatch),
      expired: false,
      failed: false,
      stalled: false,
      deadline: setTimeout(() => this.#expire(turn, batches, due), deadlineMs),
    };
    const state = { turn, since, sent: false, isDone: false };
    if (items.length <= maxBatch) batches.push({ items, resolvers, ...state });
    else
      for (let start = 0; start < items.length; start += maxBatch) {
        const end = start + maxBatch;
        batches.push({ items: items.slice(start, end), resolvers: resolvers.slice(start, end), ...state });
      }
    this.#waiting.push(...batches);
    this.wake();
  };

  /**
   * Fails batches after the deadline. If the event loop was blocked, replies may wait unread in the socket: one more
   * turn reads them first, so that a blocked process is not taken for an outage of the server. A reply that is missing
   * even then is a timeout for its caller, and no failure for the breaker.
   */
  #expire(turn: Turn, batches: readonly Batch<Item, Answer>[], due: number): void {
    turn.expired = true;
    if (monotonicNow() - due > this.#options.deadlineMs + stallMs) turn.stalled = true;
    setImmediate(() => {
      for (const batch of batches) this.#fail(batch, new StoreFault("timeout"));
    });
  }

  #send(batch: Batch<Item, Answer>): void {
    this.#inFlight += 1;
    batch.sent = true;
    this.#options.send(batch.items).then(
      (answers) => this.#finish(batch, answers),
      (error: unknown) => this.#fail(batch, faultOfError(error)),
    );
  }

  #finish(batch: Batch<Item, Answer>, answers: readonly (Answer | StoreFault)[]): void {
    if (batch.isDone) return;
    const { judge, breaker } = this.#options;
    if (judge === undefined) breaker.succeed();
    else judge(batch.items, answers);
    this.#resolve(batch, undefined, (index) => answers[index] as Answer | StoreFault);
  }

  #fail(batch: Batch<Item, Answer>, fault: StoreFault): void {
    if (batch.isDone) return;
    const { breaker, giveUp } = this.#options;
    if (!fault.outage) breaker.succeed();
    else if (batch.turn.stalled) breaker.abandon();
    else if (!batch.turn.failed) breaker.fail();
    batch.turn.failed ||= fault.outage;
    giveUp?.(batch.items, fault);
    this.#resolve(batch, fault.kind, () => fault);
  }

  #resolve(
    batch: Batch<Item, Answer>,
    fault: FaultKind | undefined,
    answerAt: (index: number) => Answer | StoreFault,
  ): void {
    batch.isDone = true;
    batch.turn.open -= 1;
    if (batch.turn.open === 0) clearTimeout(batch.turn.deadline);
    if (batch.sent) this.#inFlight -= 1;
    else this.#waiting.splice(this.#waiting.indexOf(batch), 1);
    const { items, resolvers, since } = batch;
    const { settle } = this.#options;
    this.#options.observe?.({ questions: resolvers.length, durationMs: monotonicNow() - since, fault });
    this.#pending -= resolvers.length;
    for (let index = 0; index < resolvers.length; index += 1) {
      const resolve = resolvers[index];
      if (resolve === undefined) settle?.(items[index] as Item, answerAt(index));
      else resolve(answerAt(index));
    }
    this.wake();
  }
}
