import type {
  TopKeysPart,
  TopKeysKeys,
  LimitOverrides,
  LimitOverride,
  LimitOverrideList,
  OverrideTerms,
} from "../ports/limit-overrides.js";
import { maxTopKeys, maxOverrides } from "../ports/limit-overrides.js";
import { steadyNow } from "../../lib/steady-clock.js";

const minuteMs = 60_000;

/** The counters and blocks of this process that operators may change. */
export interface ChangeableQuotas {
  forget(key: string): void;
  block(blockKey: string, lifeMs: number): void;
  unblock(blockKey: string): void;
  blockedMs(blockKey: string): number;
}

/** An override with its end by the clock of this store. */
interface Kept {
  readonly terms: OverrideTerms;
  readonly endsAt: number | undefined;
}

/** Limit overrides and top keys of this process alone. */
export class MemoryLimitOverrides implements LimitOverrides {
  readonly #quotas: ChangeableQuotas;
  readonly #now: () => number;
  readonly #rules = new Map<string, Kept>();
  readonly #demands = new Map<string, { minute: number; points: Map<string, number> }>();
  #version = 0;

  /** @param now milliseconds of a monotonic clock */
  constructor(quotas: ChangeableQuotas, now: () => number = steadyNow) {
    this.#quotas = quotas;
    this.#now = now;
  }

  readOverrides(known: string | undefined): Promise<LimitOverrideList | undefined> {
    const version = String(this.#version);
    if (known === version) return Promise.resolve(undefined);
    const now = this.#now();
    const rules = new Map<string, LimitOverride>();
    for (const [name, { terms, endsAt }] of this.#rules) {
      const leftMs = endsAt === undefined ? undefined : endsAt - now;
      if (leftMs === undefined || leftMs > 0) rules.set(name, { ...terms, leftMs });
    }
    return Promise.resolve({ version, rules });
  }

  setOverride(name: string, { limit, windowSeconds }: OverrideTerms, lifeMs: number | undefined): Promise<boolean> {
    const now = this.#now();
    for (const [other, { endsAt }] of this.#rules) if (endsAt !== undefined && endsAt <= now) this.#rules.delete(other);
    if (this.#rules.size >= maxOverrides && !this.#rules.has(name)) return Promise.resolve(false);
    const endsAt = lifeMs === undefined ? undefined : now + lifeMs;
    this.#rules.set(name, { terms: { limit, windowSeconds }, endsAt });
    this.#version += 1;
    return Promise.resolve(true);
  }

  removeOverride(name: string): Promise<void> {
    if (this.#rules.delete(name)) this.#version += 1;
    return Promise.resolve();
  }

  forget(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#quotas.forget(key);
    return Promise.resolve();
  }

  block(blockKey: string, lifeMs: number): Promise<void> {
    this.#quotas.block(blockKey, lifeMs);
    return Promise.resolve();
  }

  unblock(blockKey: string): Promise<void> {
    this.#quotas.unblock(blockKey);
    return Promise.resolve();
  }

  readBlock(blockKey: string): Promise<number> {
    return Promise.resolve(this.#quotas.blockedMs(blockKey));
  }

  addTopKeys(keys: TopKeysKeys, demands: readonly TopKeysPart[]): Promise<void> {
    const minute = Math.floor(this.#now() / minuteMs);
    const key = keys[minute % 2 === 0 ? 0 : 1];
    let known = this.#demands.get(key);
    if (known?.minute !== minute) {
      known = { minute, points: new Map() };
      this.#demands.set(key, known);
    }
    for (const { partition, points } of demands)
      known.points.set(partition, (known.points.get(partition) ?? 0) + points);
    if (known.points.size > maxTopKeys) known.points = new Map(sorted(known.points).slice(0, maxTopKeys));
    return Promise.resolve();
  }

  readTopKeys(keys: TopKeysKeys, most: number): Promise<readonly TopKeysPart[]> {
    const oldest = Math.floor(this.#now() / minuteMs) - 1;
    const sums = new Map<string, number>();
    for (const key of keys) {
      const known = this.#demands.get(key);
      if (known === undefined || known.minute < oldest) continue;
      for (const [partition, points] of known.points) sums.set(partition, (sums.get(partition) ?? 0) + points);
    }
    return Promise.resolve(
      sorted(sums)
        .slice(0, most)
        .map(([partition, points]) => ({ partition, points })),
    );
  }
}

function sorted(points: ReadonlyMap<string, number>): [string, number][] {
  return [...points].sort(([, one], [, other]) => other - one);
}
