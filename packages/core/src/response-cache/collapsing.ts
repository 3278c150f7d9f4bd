import { LRUCache } from "lru-cache";

/** What the first of several requests for one thing found: something for all, nothing that can be shared, or nothing yet. */
export type Outcome<T> = { readonly kind: "shared"; readonly value: T } | { readonly kind: "own" | "abandoned" };

const own = { kind: "own" } as const;
const abandoned = { kind: "abandoned" } as const;

/** One request that makes what others wait for. Ended once; what is said later is ignored. */
export interface Leader<T> {
  /** Here is something for all. */
  share(value: T): void;
  /** What it makes is for itself alone: the others need not wait. */
  keepForItself(): void;
  /** It went away before it had anything: one of the others takes its place. */
  abandon(): void;
  /** The head of its response has been sent before the end of its body is known: it has a moment to become complete. */
  headSent(): void;
  /** Its client gets no body, so that there may never be one: the others need not wait for this one, but for the next. */
  release(): void;
}

export interface RequestCollapserOptions {
  /** How long anybody waits. */
  readonly waitMs: number;
  /** Milliseconds of any clock. */
  readonly now?: () => number;
  /** How long the others still wait after {@link Leader.headSent}. @default 100 */
  readonly bodyMs?: number;
}

interface ActiveLeader<T> {
  readonly ended: Promise<Outcome<T>>;
  /** Nobody waits for it any more, although it may still have something for all. */
  released: boolean;
}

/** How long requests do not wait for each other where the last answer was for its own request alone. */
const unshareableMs = 10_000;

/**
 * Requests of this process for the same thing: one makes it, the others wait for it, but not for ever. Nobody waits for a
 * body that comes in parts for longer than a moment: how fast it comes is up to the client that reads it.
 */
export class RequestCollapser<T> {
  readonly #waitMs: number;
  readonly #bodyMs: number;
  readonly #now: () => number;
  readonly #active = new Map<string, ActiveLeader<T>>();
  readonly #unshareable: LRUCache<string, true>;
  /** When something for all was found for a key, in the order of all such events. */
  readonly #lastShared = new LRUCache<string, number>({ max: 10_000 });
  #shared = 0;

  constructor({ waitMs, now = () => performance.now(), bodyMs = 100 }: RequestCollapserOptions) {
    this.#waitMs = waitMs;
    this.#bodyMs = bodyMs;
    this.#now = now;
    this.#unshareable = new LRUCache({ max: 10_000, ttl: unshareableMs, ttlResolution: 0, perf: { now } });
  }

  /** A moment, to compare with. */
  get sequence(): number {
    return this.#shared;
  }

  /** When a request that begins to wait now has waited long enough, however many flights it waits for one after another. */
  get deadline(): number {
    return this.#now() + this.#waitMs;
  }

  /** Has something for all been found since? Then whoever looked before need only look again. */
  hasSharedSince(key: string, sequence: number): boolean {
    return (this.#lastShared.get(key) ?? 0) > sequence;
  }

  /** Is a request at it, whether the others wait for it or not? */
  isActive(key: string): boolean {
    return this.#active.has(key);
  }

  /** Makes this request the one that the others wait for; undefined if there is one, or if waiting has proved useless. */
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
    // A response may never be over, such as one whose client does not read and whose handler does not care.
    const expire = (): void => {
      if (!leader.released) this.#unshareable.set(key, true);
      remove(own);
    };
    // Twice the wait, so that the last who came before the first lost patience waits as long.
    const lifeTimer = setTimeout(expire, Math.min(2 * this.#waitMs, 2 ** 31 - 1)).unref();
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

  /** How the flight under way ends; `own` if there is none, or if it takes longer than this request's patience. */
  async join(key: string, deadline: number): Promise<Outcome<T>> {
    const leader = this.#active.get(key);
    const leftMs = deadline - this.#now();
    if (leader === undefined || leader.released || leftMs <= 0) return own;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<Outcome<T>>((resolve) => {
      timer = setTimeout(resolve, Math.min(leftMs, 2 ** 31 - 1), own);
      timer.unref();
    });
    const outcome = await Promise.race([leader.ended, timeout]);
    clearTimeout(timer);
    return outcome;
  }
}
