import type { LimitOverrides, QuotaRule } from "../store/ports/limit-overrides.js";
import { steadyNow } from "../lib/steady-clock.js";
import type { CountingMode } from "../store/ports/decisions.js";

/** What operators decided about one policy. */
export interface PolicyOverrides {
  /** For all clients that have no rule of their own. */
  readonly everybody: QuotaRule | undefined;
  readonly clients: ReadonlyMap<string, QuotaRule>;
  readonly blocks: ReadonlyMap<string, QuotaRule>;
}

export interface OverrideCacheOptions {
  readonly records: LimitOverrides;
  /** Do other processes change the rules too? */
  readonly shared: boolean;
  /** Milliseconds of a clock that nobody sets. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** How often the rules are looked at. @default 400 */
  readonly intervalMs?: number | undefined;
}

/** Names of rules. Names of policies hold no colon. */
export const ruleNames = {
  limit: (policy: string, partition?: string): string =>
    partition === undefined ? `limit:${policy}` : `limit:${policy}:${partition}`,
  block: (policy: string, partition: string): string => `block:${policy}:${partition}`,
};

/**
 * Rules that have not changed are read again after this: a clock runs a little fast or slow, and a monotonic one stands still
 * while a machine sleeps, so that what remains of a rule is asked of the store anew.
 */
const rereadMs = 60_000;

/**
 * The rules as this process knows them: looked at in the background, so that a change is known within a second and no request
 * waits for it. While the store is away the last known ones hold. How long a rule still holds is what the store said, and the
 * time since by a monotonic clock: the wall clock of the process decides nothing.
 */
export class OverrideCache {
  readonly #options: OverrideCacheOptions;
  readonly #now: () => number;
  #version = "";
  /** When the rules were read. */
  #readAt = Number.NEGATIVE_INFINITY;
  #rules: ReadonlyMap<string, QuotaRule> = new Map();
  #byPolicy = new Map<string, PolicyOverrides>();
  /** The version and the names of the rules in force. */
  #state = "";
  #nextEnd = Number.POSITIVE_INFINITY;
  #generation = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking = false;
  #closed = false;

  constructor(options: OverrideCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? steadyNow;
  }

  /** Another number whenever the rules are others. */
  get generation(): number {
    return this.#generation;
  }

  rulesOf(policy: string): PolicyOverrides | undefined {
    return this.#byPolicy.size === 0 ? undefined : this.#byPolicy.get(policy);
  }

  /** Looks at the rules from now on, if others change them too; may be called again. */
  start(): void {
    if (!this.#options.shared || this.#timer !== undefined || this.#closed) return;
    this.#watch();
    this.look();
  }

  /** Knows all rules when it resolves; rejects with a StoreFault. */
  async refresh(): Promise<void> {
    const isOld = this.#now() - this.#readAt >= rereadMs;
    const found = await this.#options.records.readRules(isOld ? undefined : this.#version);
    if (found === undefined || this.#closed) return;
    this.#version = found.version;
    this.#readAt = this.#now();
    this.#rules = found.rules;
    this.#arrange();
    if (this.#rules.size > 0) this.#watch();
  }

  /** Looks once, now. Without an answer the last known rules hold. */
  look(): void {
    if (this.#now() >= this.#nextEnd) this.#arrange();
    if (!this.#options.shared || this.#looking) return;
    this.#looking = true;
    this.refresh()
      .catch(() => undefined)
      .finally(() => (this.#looking = false));
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  #watch(): void {
    this.#timer ??= setInterval(() => this.look(), this.#options.intervalMs ?? 400).unref();
  }

  /** By policy, without those that have ended. */
  #arrange(): void {
    const now = this.#now();
    let state = this.#version;
    this.#nextEnd = Number.POSITIVE_INFINITY;
    this.#byPolicy = new Map();
    for (const [name, rule] of this.#rules) {
      const endsAt = rule.leftMs === undefined ? Number.POSITIVE_INFINITY : this.#readAt + rule.leftMs;
      if (endsAt <= now) continue;
      this.#nextEnd = Math.min(this.#nextEnd, endsAt);
      this.#file(name, rule);
      state += ` ${name}`;
    }
    if (state === this.#state) return;
    this.#state = state;
    this.#generation += 1;
  }

  #file(name: string, rule: QuotaRule): void {
    const match = /^(limit|block):([^:]+)(?::(.+))?$/s.exec(name);
    if (match === null) return;
    const [, kind, policy = "", partition] = match;
    const known = this.#byPolicy.get(policy) ?? { everybody: undefined, clients: new Map(), blocks: new Map() };
    if (partition === undefined) this.#byPolicy.set(policy, { ...known, everybody: rule });
    else {
      this.#byPolicy.set(policy, known);
      const rules = (kind === "block" ? known.blocks : known.clients) as Map<string, QuotaRule>;
      rules.set(partition, rule);
    }
  }
}

/** What a policy comes to for one request, before its charge is made. */
export interface Terms {
  readonly partition: string;
  readonly limit: number;
  readonly burst: number | undefined;
  readonly windowSeconds: number;
  readonly cost: number;
}

/** The terms under what operators decided: a rule of the client's own, or else that for everybody. */
export function applyOverride(terms: Terms, { everybody, clients }: PolicyOverrides): Terms {
  const rule = clients.get(terms.partition) ?? everybody;
  if (rule === undefined) return terms;
  const { limit = terms.limit, windowSeconds = terms.windowSeconds } = rule;
  return { ...terms, limit, windowSeconds };
}

/** Has the record of blocks read that policies without a `block` do not look at, and blocks nobody by itself. */
export function withBlocks(rule: CountingMode | undefined): CountingMode {
  const { algorithm, shadow } = rule ?? { algorithm: "fixed-window", shadow: false };
  return { algorithm, shadow, block: { after: 0, firstMs: 1, longestMs: 1 } };
}
