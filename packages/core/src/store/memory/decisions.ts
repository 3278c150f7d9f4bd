import type { Answer, Consumption, Question, DecisionStore, CounterState, TokenQuestion } from "../ports/decisions.js";
import { exceeds, isCutOff, StoreFault } from "../ports/decisions.js";
import type { StoreHealth, StoreState } from "../ports/health.js";
import type { RevocationStore } from "../ports/revocation.js";
import { checkCutOff } from "../ports/revocation.js";
import { steadyNow } from "../../lib/steady-clock.js";
import { MemoryCorrections } from "./adjustments.js";
import { ReplayTable } from "./replay.js";

export interface MemoryDecisionStoreOptions {
  /**
   * Unix milliseconds. @default the wall clock for revocation records, whose ends are those of tokens, and
   * {@link steadyNow} for counters, blocks and uses, which last so long after they began
   */
  readonly now?: () => number;
  /** Most counters kept. @default 12_000 */
  readonly counters?: number;
  /** Most revocation records kept. @default 50_000 */
  readonly records?: number;
}

interface Record {
  /** Unix seconds. */
  readonly cutoff: number | undefined;
  readonly expiresAtMs: number;
  /** The same by the clock that nobody sets: until then the wall clock may be set back, and the token lives again. */
  readonly keptUntil: number;
}

/** Counters and revocation records of this process alone: for development, tests and the local fallback. */
export class MemoryDecisionStore implements DecisionStore, RevocationStore, StoreHealth {
  readonly #now: () => number;
  readonly #steady: () => number;
  readonly #quotas: MemoryCorrections;
  readonly #uses: ReplayTable;
  readonly #records = new Map<string, Record>();
  readonly #mostRecords: number;

  constructor({ now, counters = 12_000, records = 50_000 }: MemoryDecisionStoreOptions = {}) {
    const steady = now ?? steadyNow;
    this.#now = now ?? Date.now;
    this.#steady = steady;
    this.#quotas = new MemoryCorrections({ now: steady, capacity: counters });
    this.#uses = new ReplayTable(steady);
    this.#mostRecords = records;
  }

  get quotas(): MemoryCorrections {
    return this.#quotas;
  }

  ask({ beforeToken, token, use, afterToken }: Question): Answer {
    const quotas = this.#quotas;
    const before = quotas.peek(beforeToken);
    const unreached = afterToken.map(() => undefined);
    if (quotas.refuse(beforeToken, before)) {
      return { beforeToken: uncounted(beforeToken, before), revoked: undefined, afterToken: unreached };
    }
    const finding = token === undefined ? nothing : this.#findRevocation(token);
    const { revoked } = finding;
    const repeated = use === undefined || revoked === true ? undefined : this.#uses.repeats(use);
    if (revoked === true || (repeated !== undefined && repeated !== false)) {
      return { beforeToken: quotas.count(beforeToken, before), ...finding, repeated, afterToken: unreached };
    }
    const after = quotas.peek(afterToken);
    if (quotas.refuse(afterToken, after)) {
      const [first, last] = [uncounted(beforeToken, before), uncounted(afterToken, after)];
      return { beforeToken: first, revoked, repeated, afterToken: last };
    }
    return {
      beforeToken: quotas.count(beforeToken, before),
      revoked,
      repeated,
      afterToken: quotas.count(afterToken, after),
    };
  }

  revoke(key: string, expiresAt: number): Promise<void> {
    return this.#record(key, undefined, expiresAt * 1000);
  }

  async cutOff(key: string, ttlSeconds: number, at?: number): Promise<number> {
    checkCutOff(ttlSeconds, at);
    const now = Math.floor(this.#now() / 1000);
    const known = this.#read(key);
    // What is no cut-off says no time to go back to: now ends every token there is.
    const isUnknown = known !== undefined && known.cutoff === undefined;
    const cutoff = Math.max(at === undefined || isUnknown ? now : Math.min(Math.floor(at), now), known?.cutoff ?? 0);
    await this.#record(key, cutoff, this.#now() + ttlSeconds * 1000);
    return cutoff;
  }

  /** A cut-off in unix seconds, if there is one. Throws a {@link StoreFault} for what is none. */
  cutoffAt(key: string): number | undefined {
    const record = this.#read(key);
    if (record !== undefined && record.cutoff === undefined) throw new StoreFault("unreadable", "WRONGTYPE");
    return record?.cutoff;
  }

  state(): StoreState {
    return { kind: "memory", status: "up", findings: [] };
  }

  close(): void {
    this.#records.clear();
  }

  #findRevocation(token: TokenQuestion): Pick<Answer, "revoked" | "cutoff"> {
    if (this.#read(token.revokedKey) !== undefined) return { revoked: true };
    let [latest, isUnreadable] = [Number.NEGATIVE_INFINITY, false];
    for (const key of token.cutoffKeys) {
      const record = this.#read(key);
      if (record === undefined) continue;
      if (record.cutoff === undefined) isUnreadable = true;
      else latest = Math.max(latest, record.cutoff);
    }
    if (latest >= 0 && isCutOff(token, latest)) return { revoked: true, cutoff: latest };
    return { revoked: isUnreadable ? new StoreFault("unreadable", "WRONGTYPE") : false };
  }

  #read(key: string): Record | undefined {
    const record = this.#records.get(key);
    return record !== undefined && record.expiresAtMs > this.#now() ? record : undefined;
  }

  /** A live record is never dropped to make room: a revocation that finds none fails aloud. */
  #record(key: string, cutoff: number | undefined, expiresAtMs: number): Promise<void> {
    if (expiresAtMs <= this.#now()) return Promise.resolve();
    if (this.#records.size >= this.#mostRecords && !this.#records.has(key)) {
      for (const [known, record] of this.#records) {
        if (record.expiresAtMs <= this.#now() && record.keptUntil <= this.#steady()) this.#records.delete(known);
      }
      if (this.#records.size >= this.#mostRecords) return Promise.reject(new StoreFault("overloaded"));
    }
    const known = this.#read(key);
    const latest = Math.max(expiresAtMs, known?.expiresAtMs ?? 0);
    const keptUntil = this.#steady() + latest - this.#now();
    this.#records.set(key, { cutoff, expiresAtMs: latest, keptUntil });
    return Promise.resolve();
  }
}

const nothing: Pick<Answer, "revoked" | "cutoff"> = { revoked: undefined };

/** Tallies of a refused request: those over their limit as they would stand, the others as they stand. */
function uncounted(charges: readonly Consumption[], tallies: readonly CounterState[]): CounterState[] {
  return tallies.map((tally, index) => {
    const charge = charges[index];
    return charge === undefined || exceeds(charge, tally)
      ? tally
      : { ...tally, consumed: tally.consumed - charge.cost };
  });
}
