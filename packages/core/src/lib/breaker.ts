import { Telemetry } from "../telemetry/telemetry.js";
import { monotonicNow } from "./real-timers.js";

/** The state of a circuit breaker. */
export type BreakerState = "closed" | "open" | "half-open";

export interface BreakerOptions {
  readonly name: string;
  /** Gets every change of state. */
  readonly telemetry?: Telemetry | undefined;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
  /** Returns 0 to 1; spreads the probes of many processes. */
  readonly random?: () => number;
}

/** A circuit breaker as an operator sees it. */
export interface BreakerControl {
  /** Name of the breaker, as in metrics. */
  readonly name: string;
  /** State of the breaker. */
  readonly state: BreakerState;
  /** Refuses all calls, also probes, until `close()` is called: for example while the dependency is repaired. */
  open(): void;
  /** Closes the breaker at once; from then on it works automatically again. */
  close(): void;
}

const consecutiveFailures = 5;
const sampleWindowMs = 10_000;
const sampleSize = 20;
const failureRatio = 0.5;
const openMs = 1000;

/**
 * A circuit breaker (Nygard, Release It!). It opens on the 5th consecutive failure, or when half of at least 20 calls within
 * 10 s have failed. After 0.75 to 1.25 s it allows one call as a probe, whose outcome closes it or opens it again. During a
 * probe every other caller is refused at once, never queued.
 */
export class Breaker implements BreakerControl {
  readonly name: string;
  readonly #telemetry: Telemetry;
  readonly #now: () => number;
  readonly #random: () => number;
  #state: BreakerState = "closed";
  #consecutive = 0;
  #calls = 0;
  #failures = 0;
  #windowStart: number;
  #probeAt = 0;
  #probing = false;
  /** An operator keeps it open. */
  #held = false;

  constructor({ name, telemetry, now = monotonicNow, random = Math.random }: BreakerOptions) {
    this.name = name;
    this.#telemetry = telemetry ?? new Telemetry();
    this.#now = now;
    this.#random = random;
    this.#windowStart = now();
  }

  get state(): BreakerState {
    return this.#state;
  }

  /** Does an operator keep the breaker open? */
  get isHeld(): boolean {
    return this.#held;
  }

  /** May a call be made now? After true, the caller must report `succeed`, `fail` or `abandon`. */
  enter(): boolean {
    if (this.#state === "closed") return true;
    if (this.#state === "open") {
      if (this.#held || this.#now() < this.#probeAt) return false;
      this.#move("half-open");
    }
    if (this.#probing) return false;
    this.#probing = true;
    return true;
  }

  succeed(): void {
    this.#count();
    this.#consecutive = 0;
    this.#probing = false;
    if (this.#state === "half-open") this.#move("closed");
  }

  fail(): void {
    this.#count();
    this.#consecutive += 1;
    this.#failures += 1;
    const failedProbe = this.#state === "half-open" && this.#probing;
    this.#probing = false;
    const tooMany = this.#calls >= sampleSize && this.#failures >= this.#calls * failureRatio;
    if (failedProbe || (this.#state === "closed" && (this.#consecutive >= consecutiveFailures || tooMany))) {
      this.#probeAt = this.#now() + openMs * (0.75 + this.#random() / 2);
      this.#move("open");
    }
  }

  /** The call was not made, so it says nothing about the dependency. */
  abandon(): void {
    this.#probing = false;
  }

  /** Lets the next call probe without waiting for the pause to end, for example after a new connection. */
  allowProbe(): void {
    this.#probeAt = Math.min(this.#probeAt, this.#now());
  }

  open(): void {
    this.#held = true;
    this.#probing = false;
    if (this.#state !== "open") this.#move("open");
  }

  close(): void {
    this.#held = false;
    this.#probing = false;
    if (this.#state !== "closed") this.#move("closed");
  }

  #count(): void {
    const now = this.#now();
    if (now - this.#windowStart > sampleWindowMs) this.#startWindow(now);
    this.#calls += 1;
  }

  #startWindow(now: number): void {
    this.#windowStart = now;
    this.#calls = 0;
    this.#failures = 0;
  }

  #move(to: BreakerState): void {
    const from = this.#state;
    this.#state = to;
    if (to === "closed") {
      this.#consecutive = 0;
      this.#startWindow(this.#now());
    }
    this.#telemetry.breakerMoved(this.name, from, to);
  }
}
