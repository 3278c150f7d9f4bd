import type { LimitOverrides, LimitOverride } from "../store/ports/limit-overrides.js";
import { steadyNow } from "../lib/steady-clock.js";
import type { CountingMode } from "../store/ports/decisions.js";
import { clearInterval, setInterval } from "../lib/real-timers.js";

/** The overrides and blocks of one policy. */
export interface PolicyOverrides {
  /** For all clients without an override of their own. */
  readonly everybody: LimitOverride | undefined;
  readonly clients: ReadonlyMap<string, LimitOverride>;
  readonly blocks: ReadonlyMap<string, LimitOverride>;
}

export interface OverrideCacheOptions {
  readonly store: LimitOverrides;
  /** Do other processes change overrides too? */
  readonly shared: boolean;
  /** Milliseconds of a monotonic clock. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** Time between two polls of the store. @default 400 */
  readonly intervalMs?: number | undefined;
}

/** Names of overrides and blocks in the store. Names of policies contain no colon. */
export const overrideNames = {
  limit: (policy: string, partition?: string): string =>
    partition === undefined ? `limit:${policy}` : `limit:${policy}:${partition}`,
  block: (policy: string, partition: string): string => `block:${policy}:${partition}`,
};

/** The parts of a name; undefined for a name that no release has written. */
export interface OverrideName {
  readonly kind: "limit" | "block";
  readonly policy: string;
  /** Undefined for all clients. */
  readonly partition: string | undefined;
}

export function readOverrideName(name: string): OverrideName | undefined {
  const match = /^(limit|block):([^:]+)(?::(.+))?$/s.exec(name);
  if (match === null) return undefined;
  const [, kind, policy = "", partition] = match;
  return { kind: kind === "block" ? "block" : "limit", policy, partition };
}

/**
 * Unchanged overrides are read again after this time, so that the store tells their remaining time anew: clocks drift, and a
 * monotonic clock stops while a machine sleeps.
 */
const rereadMs = 60_000;

/**
 * The overrides that this process knows. It polls the store in the background: a change is known within a second, and no
 * request waits for it. While the store is down, the last known overrides hold. An override ends by the remaining time that
 * the store told and a monotonic clock, never by the wall clock of the process.
 */
export class OverrideCache {
  readonly #options: OverrideCacheOptions;
  readonly #now: () => number;
  #version = "";
  /** Time of the last read. */
  #readAt = Number.NEGATIVE_INFINITY;
  #overrides: ReadonlyMap<string, LimitOverride> = new Map();
  #byPolicy = new Map<string, PolicyOverrides>();
  /** The version, and the names of the overrides in force. */
  #state = "";
  #nextEnd = Number.POSITIVE_INFINITY;
  #generation = 0;
  #timer: NodeJS.Timeout | undefined;
  #polling = false;
  #closed = false;

  constructor(options: OverrideCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? steadyNow;
  }

  /** Changes whenever the overrides in force change. */
  get generation(): number {
    return this.#generation;
  }

  overridesOf(policy: string): PolicyOverrides | undefined {
    return this.#byPolicy.size === 0 ? undefined : this.#byPolicy.get(policy);
  }

  /** Begins to poll if other processes change overrides too. May be called again. */
  start(): void {
    if (!this.#options.shared || this.#timer !== undefined || this.#closed) return;
    this.#watch();
    this.poll();
  }

  /** Reads all overrides. Rejects with a StoreFault. */
  async refresh(): Promise<void> {
    const isOld = this.#now() - this.#readAt >= rereadMs;
    const found = await this.#options.store.readOverrides(isOld ? undefined : this.#version);
    if (found === undefined || this.#closed) return;
    this.#version = found.version;
    this.#readAt = this.#now();
    this.#overrides = found.rules;
    this.#indexByPolicy();
    if (this.#overrides.size > 0) this.#watch();
  }

  /** Polls once, now. Without an answer the last known overrides hold. */
  poll(): void {
    if (this.#now() >= this.#nextEnd) this.#indexByPolicy();
    if (!this.#options.shared || this.#polling) return;
    this.#polling = true;
    this.refresh()
      .catch(() => undefined)
      .finally(() => (this.#polling = false));
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  #watch(): void {
    this.#timer ??= setInterval(() => this.poll(), this.#options.intervalMs ?? 400).unref();
  }

  /** Sorts overrides by policy and drops those that have ended. */
  #indexByPolicy(): void {
    const now = this.#now();
    let state = this.#version;
    this.#nextEnd = Number.POSITIVE_INFINITY;
    this.#byPolicy = new Map();
    for (const [name, override] of this.#overrides) {
      const endsAt = override.leftMs === undefined ? Number.POSITIVE_INFINITY : this.#readAt + override.leftMs;
      if (endsAt <= now) continue;
      this.#nextEnd = Math.min(this.#nextEnd, endsAt);
      this.#index(name, override);
      state += ` ${name}`;
    }
    if (state === this.#state) return;
    this.#state = state;
    this.#generation += 1;
  }

  #index(name: string, override: LimitOverride): void {
    const named = readOverrideName(name);
    if (named === undefined) return;
    const { kind, policy, partition } = named;
    const known = this.#byPolicy.get(policy) ?? { everybody: undefined, clients: new Map(), blocks: new Map() };
    if (partition === undefined) this.#byPolicy.set(policy, { ...known, everybody: override });
    else {
      this.#byPolicy.set(policy, known);
      const overrides = (kind === "block" ? known.blocks : known.clients) as Map<string, LimitOverride>;
      overrides.set(partition, override);
    }
  }
}

/** The values of a policy for one request, from which its consumption is made. */
export interface Terms {
  readonly partition: string;
  readonly limit: number;
  readonly burst: number | undefined;
  readonly windowSeconds: number;
  readonly cost: number;
}

/** Applies the override of the client, or else the one for all clients. */
export function applyOverride(terms: Terms, { everybody, clients }: PolicyOverrides): Terms {
  const override = clients.get(terms.partition) ?? everybody;
  if (override === undefined) return terms;
  const { limit = terms.limit, windowSeconds = terms.windowSeconds } = override;
  return { ...terms, limit, windowSeconds };
}

/** Adds a block that never begins by itself, so that the store reads the record of blocks made by operators. */
export function withBlocks(mode: CountingMode | undefined): CountingMode {
  const { algorithm, shadow } = mode ?? { algorithm: "fixed-window", shadow: false };
  return { algorithm, shadow, block: { after: 0, firstMs: 1, maxMs: 1 } };
}
