import { LRUCache } from "lru-cache";

/** What the first of several requests for one thing found: something for all, nothing that can be shared, or nothing yet. */
export type Outcome<T> = { readonly kind: "shared"; readonly value: T } | { readonly kind: "own" | "abandoned" };

const own = { kind: "own" } as const;
const abandoned = { kind: "abandoned" } as const;

/** One request that makes what others wait for. Ended once; what is said later is ignored. */
export interface Flight<T> {
  /** Here is something for all. */
  share(value: T): void;
  /** What it makes is for itself alone: the others need not wait. */
  keep(): void;
  /** It went away before it had anything: one of the others takes its place. */
  abandon(): void;
  /** The head of its response has been sent before the end of its body is known: it has a moment to become complete. */
  headSent(): void;
  /** Its client gets no body, so that there may never be one: the others need not wait for this one, but for the next. */
  letGo(): void;
}

export interface FlightsOptions {
  /** How long anybody waits. */
  readonly waitMs: number;
  /** Milliseconds of any clock. */
  readonly now?: () => number;
  /** How long the others still wait after {@link Flight.headSent}. @default 100 */
  readonly bodyMs?: number;
}

interface UnderWay<T> {
  readonly ended: Promise<Outcome<T>>;
  /** Nobody waits for it any more, although it may still have something for all. */
  released: boolean;
}

/** How long requests do not wait for each other where the last answer was for its own request alone. */
const ownForMs = 10_000;

/**
 * Requests of this process for the same thing: one makes it, the others wait for it, but not for ever. Nobody waits for a
 * body that comes in parts for longer than a moment: how fast it comes is up to the client that reads it.
 */
export class Flights<T> {
  readonly #waitMs: number;
  readonly #bodyMs: number;
  readonly #now: () => number;
  readonly #underWay = new Map<string, UnderWay<T>>();
  readonly #own: LRUCache<string, true>;
  /** When something for all was found for a key, in the order of all such events. */
  readonly #landed = new LRUCache<string, number>({ max: 10_000 });
  #landings = 0;

  constructor({ waitMs, now = () => performance.now(), bodyMs = 100 }: FlightsOptions) {
    this.#waitMs = waitMs;
    this.#bodyMs = bodyMs;
    this.#now = now;
    this.#own = new LRUCache({ max: 10_000, ttl: ownForMs, ttlResolution: 0, perf: { now } });
  }

  /** A moment, to compare with. */
  get moment(): number {
    return this.#landings;
  }

  /** When a request that begins to wait now has waited long enough, however many flights it waits for one after another. */
  get patience(): number {
    return this.#now() + this.#waitMs;
  }

  /** Has something for all been found since? Then whoever looked before need only look again. */
  hasLandedSince(key: string, moment: number): boolean {
    return (this.#landed.get(key) ?? 0) > moment;
  }

  /** Is a request at it, whether the others wait for it or not? */
  isUnderWay(key: string): boolean {
    return this.#underWay.has(key);
  }

  /** Makes this request the one that the others wait for; undefined if there is one, or if waiting has proved useless. */
  start(key: string): Flight<T> | undefined {
    if (this.#waitMs === 0 || this.#underWay.has(key) || this.#own.has(key)) return undefined;
    let settle: (outcome: Outcome<T>) => void = () => undefined;
    const flight: UnderWay<T> = { ended: new Promise<Outcome<T>>((resolve) => (settle = resolve)), released: false };
    this.#underWay.set(key, flight);
    let isOver = false;
    let bodyTimer: NodeJS.Timeout | undefined;

    const remove = (outcome: Outcome<T>): void => {
      clearTimeout(bodyTimer);
      clearTimeout(lifeTimer);
      if (this.#underWay.get(key) === flight) this.#underWay.delete(key);
      settle(outcome);
    };
    const end = (outcome: Outcome<T>): void => {
      if (isOver) return;
      isOver = true;
      remove(outcome);
    };
    const release = (): void => {
      flight.released = true;
      settle(own);
    };
    // A response may never be over, such as one whose client does not read and whose handler does not care.
    const expire = (): void => {
      if (!flight.released) this.#own.set(key, true);
      remove(own);
    };
    // Twice the wait, so that the last who came before the first lost patience waits as long.
    const lifeTimer = setTimeout(expire, Math.min(2 * this.#waitMs, 2 ** 31 - 1)).unref();
    return {
      share: (value) => {
        if (isOver) return;
        this.#own.delete(key);
        this.#landed.set(key, (this.#landings += 1));
        end({ kind: "shared", value });
      },
      keep: () => {
        if (isOver) return;
        this.#own.set(key, true);
        end(own);
      },
      abandon: () => end(abandoned),
      headSent: () => {
        if (!isOver) bodyTimer ??= setTimeout(release, this.#bodyMs).unref();
      },
      letGo: release,
    };
  }

  /** How the flight under way ends; `own` if there is none, or if it takes longer than this request's patience. */
  async join(key: string, patience: number): Promise<Outcome<T>> {
    const flight = this.#underWay.get(key);
    const leftMs = patience - this.#now();
    if (flight === undefined || flight.released || leftMs <= 0) return own;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Outcome<T>>((resolve) => {
      timer = setTimeout(resolve, Math.min(leftMs, 2 ** 31 - 1), own);
      timer.unref();
    });
    const outcome = await Promise.race([flight.ended, late]);
    clearTimeout(timer);
    return outcome;
  }
}
