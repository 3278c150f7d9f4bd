import { clearTimeout, monotonicNow, setTimeout } from "./real-timers.js";

/** Is told of a time. */
export interface DeadlineListener {
  pass(): void;
}

/** Something that happens at a time, unless it is cancelled before. */
export class Deadline {
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
  readonly listener: DeadlineListener;
  /** The neighbours, while the deadline is set. */
  before: Deadline | undefined;
  after: Deadline | undefined;
  isSet = true;

  constructor(at: number, listener: DeadlineListener, before: Deadline | undefined) {
    this.at = at;
    this.listener = listener;
    this.before = before;
  }
}

/**
 * Many deadlines by one timer, for times that seldom come: setting and cancelling a deadline touches no timer. The timer does
 * not keep the process alive. The deadlines are a linked list, since a Set leaves garbage where members come and go.
 */
export class Deadlines {
  #last: Deadline | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  set(at: number, listener: DeadlineListener): Deadline {
    const deadline = new Deadline(at, listener, this.#last);
    if (this.#last !== undefined) this.#last.after = deadline;
    this.#last = deadline;
    if (at < this.#timerAt) this.#arm(at);
    return deadline;
  }

  /** False if the deadline has passed, or was cancelled. */
  cancel(deadline: Deadline): boolean {
    if (!deadline.isSet) return false;
    deadline.isSet = false;
    const { before, after } = deadline;
    if (before !== undefined) before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    deadline.before = deadline.after = undefined;
    return true;
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#onTime(), Math.max(1, Math.ceil(at - monotonicNow()))).unref();
  }

  #onTime(): void {
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = monotonicNow();
    let next = Number.POSITIVE_INFINITY;
    const due: Deadline[] = [];
    for (let deadline = this.#last; deadline !== undefined; deadline = deadline.before) {
      if (deadline.at <= now) due.push(deadline);
      else if (deadline.at < next) next = deadline.at;
    }
    if (next < Number.POSITIVE_INFINITY) this.#arm(next);
    // In the order in which they were set.
    for (const deadline of due.reverse()) if (this.cancel(deadline)) deadline.listener.pass();
  }
}
