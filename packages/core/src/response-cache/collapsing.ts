import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../lib/growing-lru.js";
import { maxTimerMs } from "../lib/duration.js";
import { clearTimeout, monotonicNow, setTimeout } from "../lib/real-timers.js";

/** How the leader of collapsed requests ended: with a result for all, with one for itself alone, or without any. */
export type Outcome<T> = { readonly kind: "shared"; readonly value: T } | { readonly kind: "own" | "abandoned" };

const own = { kind: "own" } as const;
const abandoned = { kind: "abandoned" } as const;

/** The request that goes on to the handler while the others wait. It ends once; later calls do nothing. */
export interface Leader<T> {
  /** Ends with a result for all requests that wait. */
  share(value: T): void;
  /** Ends with a result for this request alone: the others stop waiting. */
  keepForItself(): void;
  /** Ends without a result, since its client has gone: another request becomes the leader. */
  abandon(): void;
  /** The head of the response was sent before the body was complete: the others wait for `bodyMs` more. */
  headSent(): void;
  /** The client gets no body, so there may never be a whole one: the others stop waiting. When it has ended, the next request leads. */
  release(): void;
}

export interface RequestCollapserOptions {
  /** How long a request waits, at most. */
  readonly waitMs: number;
  /** Milliseconds of any clock. */
  readonly now?: () => number;
  /** How long requests wait after {@link Leader.headSent}. @default 100 */
  readonly bodyMs?: number;
}

interface ActiveLeader<T> {
  readonly ended: Promise<Outcome<T>>;
  /** No request waits for it any more, although it may still have a result for all. */
  released: boolean;
}

/** How long requests for a key are not collapsed after a result for one request alone. */
const unshareableMs = 10_000;

/**
 * Collapses requests of this process with one key (RFC 9111 4): one goes on to the handler, the others wait for its response,
 * up to a deadline. They wait a short time only for a body that is sent in parts: its client decides how fast it is read.
 */
export class RequestCollapser<T> {
  readonly #waitMs: number;
  readonly #bodyMs: number;
  readonly #now: () => number;
  readonly #active = new Map<string, ActiveLeader<T>>();
  readonly #unshareable: LRUCache<string, true>;
  /** The last result for all, by key; a number in the order of all such results. */
  readonly #lastShared = new GrowingLru<string, number>({ max: 10_000 });
  #shared = 0;

  constructor({ waitMs, now = monotonicNow, bodyMs = 100 }: RequestCollapserOptions) {
    this.#waitMs = waitMs;
    this.#bodyMs = bodyMs;
    this.#now = now;
    this.#unshareable = new GrowingLru({ max: 10_000, ttl: unshareableMs, ttlResolution: 0, perf: { now } });
  }

  /** The number of results for all so far; see {@link hasSharedSince}. */
  get sequence(): number {
    return this.#shared;
  }

  /** The time until which a request that comes now waits, also for several leaders one after another. */
  get deadline(): number {
    return this.#now() + this.#waitMs;
  }

  /** True if a key had a result for all since then: a request that read the store before finds it there now. */
  hasSharedSince(key: string, sequence: number): boolean {
    return (this.#lastShared.get(key) ?? 0) > sequence;
  }

  /** True while a request with this key is at the handler, whether others wait for it or not. */
  isActive(key: string): boolean {
    return this.#active.has(key);
  }

  /** Makes this request the leader; undefined if there is one, or if the key is not collapsed now. */
  start(key: string): Leader<T> | undefined {
    if (this.#waitMs === 0 || this.#active.has(key) || this.#unshareable.has(key)) return undefined;
    let resolveOutcome: (outcome: Outcome<T>) => void = () => undefined;
    const leader: ActiveLeader<T> = {
      ended: new Promise<Outcome<T>>((resolve) => (resolveOutcome = resolve)),
      released: false,
    };
    this.#active.set(key, leader);
    let isOver = false;
    let bodyTimer: NodeJS.Timeout | undefined;

    const remove = (outcome: Outcome<T>): void => {
      clearTimeout(bodyTimer);
      clearTimeout(lifeTimer);
      if (this.#active.get(key) === leader) this.#active.delete(key);
      resolveOutcome(outcome);
    };
    const end = (outcome: Outcome<T>): void => {
      if (isOver) return;
      isOver = true;
      remove(outcome);
    };
    const release = (): void => {
      leader.released = true;
      resolveOutcome(own);
    };
    // A response may never end, for example if its client does not read and its handler does not check.
    const expire = (): void => {
      if (!leader.released) this.#unshareable.set(key, true);
      remove(own);
    };
    // Twice the wait: a request that comes just before the first deadline waits as long as the first one.
    const lifeTimer = setTimeout(expire, Math.min(2 * this.#waitMs, maxTimerMs)).unref();
    return {
      share: (value) => {
        if (isOver) return;
        this.#unshareable.delete(key);
        this.#lastShared.set(key, (this.#shared += 1));
        end({ kind: "shared", value });
      },
      keepForItself: () => {
        if (isOver) return;
        this.#unshareable.set(key, true);
        end(own);
      },
      abandon: () => end(abandoned),
      headSent: () => {
        if (!isOver) bodyTimer ??= setTimeout(release, this.#bodyMs).unref();
      },
      release,
    };
  }

  /** How the leader ends; `own` without a leader, or after the deadline of this request. */
  async join(key: string, deadline: number): Promise<Outcome<T>> {
    const leader = this.#active.get(key);
    const leftMs = deadline - this.#now();
    if (leader === undefined || leader.released || leftMs <= 0) return own;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<Outcome<T>>((resolve) => {
      timer = setTimeout(resolve, Math.min(leftMs, maxTimerMs), own);
      timer.unref();
    });
    const outcome = await Promise.race([leader.ended, timeout]);
    clearTimeout(timer);
    return outcome;
  }
}
