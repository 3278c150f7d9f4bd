import { clearInterval, setInterval } from "../lib/real-timers.js";

export interface Beating {
  beat(): void;
}

/** The members of {@link Heartbeats}, for their owners. */
export type Beats = Pick<Heartbeats, "add" | "delete">;

/** The parts of a period: the members of one part beat together. */
const parts = 16;

/** Calls each of its members once in a period, by one timer, which runs only while there are members. */
export class Heartbeats {
  readonly #partMs: number;
  readonly #members: readonly Set<Beating>[] = Array.from({ length: parts }, () => new Set<Beating>());
  readonly #partOf = new Map<Beating, number>();
  #next = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(periodMs: number) {
    this.#partMs = Math.max(1, Math.floor(periodMs / parts));
  }

  add(member: Beating): void {
    // The part that has just beaten: the first beat comes after a period. Members that come together beat together, so
    // they are spread.
    const part = (this.#next + this.#partOf.size) % parts;
    this.#members[part]?.add(member);
    this.#partOf.set(member, part);
    this.#timer ??= setInterval(() => this.#beat(), this.#partMs).unref();
  }

  delete(member: Beating): void {
    const part = this.#partOf.get(member);
    if (part === undefined) return;
    this.#partOf.delete(member);
    this.#members[part]?.delete(member);
    if (this.#partOf.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #beat(): void {
    const due = this.#members[this.#next] ?? [];
    this.#next = (this.#next + 1) % parts;
    // A beat may end its member.
    for (const member of [...due]) member.beat();
  }
}
