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
}

export interface FlightsOptions {
  /** How long anybody waits. */
  readonly waitMs: number;
  /** Milliseconds of any clock. */
  readonly now?: () => number;
}

/** How long requests do not wait for each other where the last answer was for its own request alone. */
const ownForMs = 10_000;

/** Requests of this process for the same thing: one makes it, the others wait for it, but not for ever. */
export class Flights<T> {
  readonly #waitMs: number;
  readonly #underWay = new Map<string, { readonly ended: Promise<Outcome<T>> }>();
  readonly #own: LRUCache<string, true>;
  /** When something for all was found for a key, in the order of all such events. */
  readonly #landed = new LRUCache<string, number>({ max: 10_000 });
  #landings = 0;

  constructor({ waitMs, now = () => performance.now() }: FlightsOptions) {
    this.#waitMs = waitMs;
    this.#own = new LRUCache({ max: 10_000, ttl: ownForMs, ttlResolution: 0, perf: { now } });
  }

  /** A moment, to compare with. */
  get moment(): number {
    return this.#landings;
  }

  /** Has something for all been found since? Then whoever looked before need only look again. */
  hasLandedSince(key: string, moment: number): boolean {
    return (this.#landed.get(key) ?? 0) > moment;
  }

  isUnderWay(key: string): boolean {
    return this.#underWay.has(key);
  }

  /** Makes this request the one that the others wait for; undefined if there is one, or if waiting has proved useless. */
  start(key: string): Flight<T> | undefined {
    if (this.#waitMs === 0 || this.#underWay.has(key) || this.#own.has(key)) return undefined;
    let settle: (outcome: Outcome<T>) => void = () => undefined;
    const flight = { ended: new Promise<Outcome<T>>((resolve) => (settle = resolve)) };
    this.#underWay.set(key, flight);
    const end = (outcome: Outcome<T>): void => {
      if (this.#underWay.get(key) !== flight) return;
      this.#underWay.delete(key);
      if (outcome.kind === "own") this.#own.set(key, true);
      if (outcome.kind === "shared") this.#landed.set(key, (this.#landings += 1));
      settle(outcome);
    };
    return {
      share: (value) => end({ kind: "shared", value }),
      keep: () => end(own),
      abandon: () => end(abandoned),
    };
  }

  /** How the flight under way ends; `own` if there is none, or if it takes longer than anybody waits. */
  async join(key: string): Promise<Outcome<T>> {
    const flight = this.#underWay.get(key);
    if (flight === undefined) return own;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<Outcome<T>>((resolve) => {
      timer = setTimeout(resolve, this.#waitMs, own);
      timer.unref();
    });
    const outcome = await Promise.race([flight.ended, patience]);
    clearTimeout(timer);
    return outcome;
  }
}
