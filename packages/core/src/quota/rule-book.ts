import type { QuotaRecords, QuotaRule } from "../store/quota-records.js";

/** What operators decided about one policy. */
export interface PolicyRules {
  /** For all clients that have no rule of their own. */
  readonly everybody: QuotaRule | undefined;
  readonly clients: ReadonlyMap<string, QuotaRule>;
  readonly blocks: ReadonlyMap<string, QuotaRule>;
}

export interface RuleBookOptions {
  readonly records: QuotaRecords;
  /** Do other processes change the rules too? */
  readonly shared: boolean;
  /** Unix milliseconds. */
  readonly now: () => number;
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
 * The rules as this process knows them: looked at in the background, so that a change is known within a second and no request
 * waits for it. While the store is away the last known ones hold.
 */
export class RuleBook {
  readonly #options: RuleBookOptions;
  #version = "";
  #rules: ReadonlyMap<string, QuotaRule> = new Map();
  #byPolicy = new Map<string, PolicyRules>();
  #nextEnd = Number.POSITIVE_INFINITY;
  #generation = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking = false;
  #closed = false;

  constructor(options: RuleBookOptions) {
    this.#options = options;
  }

  /** Another number whenever the rules are others. */
  get generation(): number {
    return this.#generation;
  }

  rulesOf(policy: string): PolicyRules | undefined {
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
    const found = await this.#options.records.readRules(this.#version);
    if (found === undefined || this.#closed) return;
    this.#version = found.version;
    this.#rules = found.rules;
    this.#arrange();
    if (this.#rules.size > 0) this.#watch();
  }

  /** Looks once, now. Without an answer the last known rules hold. */
  look(): void {
    if (this.#options.now() >= this.#nextEnd) this.#arrange();
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
    const now = this.#options.now();
    this.#generation += 1;
    this.#nextEnd = Number.POSITIVE_INFINITY;
    this.#byPolicy = new Map();
    for (const [name, rule] of this.#rules) {
      if (rule.until !== undefined && rule.until <= now) continue;
      this.#nextEnd = Math.min(this.#nextEnd, rule.until ?? Number.POSITIVE_INFINITY);
      this.#file(name, rule);
    }
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
