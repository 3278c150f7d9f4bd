import type { ConsumptionGroup, TokenChecks } from "../ports/decide.js";
import { decide } from "../ports/decide.js";
import type {
  Answer,
  Consumption,
  Question,
  DecisionStore,
  CounterState,
  TokenQuestion,
  ReplayCheck,
} from "../ports/decisions.js";
import { exceeds, isCutOff } from "../ports/decisions.js";
import { StoreFault } from "../ports/fault.js";
import type { StoreHealth, StoreState } from "../ports/health.js";
import type { FoundRecords, RecordListener, RevocationRecords, RevocationStore } from "../ports/revocation.js";
import { checkCutOff } from "../ports/revocation.js";
import { steadyNow, wallNow } from "../../lib/steady-clock.js";
import { MemoryCorrections } from "./usage-corrections.js";

export interface MemoryDecisionStoreOptions {
  /**
   * Unix milliseconds. @default the wall clock for revocation records, which end with their tokens, and {@link
   * steadyNow} for counters, blocks and replay records, which have a duration
   */
  readonly now?: () => number;
  /** Maximum number of counters. @default 12_000 */
  readonly counters?: number;
  /** Maximum number of revocation records. @default 50_000 */
  readonly records?: number;
}

interface Record {
  /** Unix seconds; undefined for the record of a token. */
  readonly cutoff: number | undefined;
  readonly expiresAtMs: number;
  /**
   * The same by the monotonic clock: if the wall clock is set back, the token is valid again, and the record must be
   * there.
   */
  readonly keptUntil: number;
}

/**
 * Counters and revocation records of this process alone: for development, for tests, and for limits while Redis is
 * down.
 */
export class MemoryDecisionStore implements DecisionStore, RevocationStore, RevocationRecords, StoreHealth {
  readonly #now: () => number;
  readonly #steady: () => number;
  readonly #quotas: MemoryCorrections;
  readonly #checks: TokenChecks;
  readonly #records = new Map<string, Record>();
  readonly #maxRecords: number;
  readonly #listeners = new Set<RecordListener>();

  constructor({ now, counters = 12_000, records = 50_000 }: MemoryDecisionStoreOptions = {}) {
    const steady = now ?? steadyNow;
    this.#now = now ?? wallNow;
    this.#steady = steady;
    this.#quotas = new MemoryCorrections({ now: steady, capacity: counters });
    const replays = new ReplayTable(steady);
    this.#checks = {
      findRevocation: (token) => this.#findRevocation(token),
      checkReplay: (check) => replays.repeats(check),
    };
    this.#maxRecords = records;
  }

  get corrections(): MemoryCorrections {
    return this.#quotas;
  }

  ask(question: Question): Answer {
    const before = new MemoryGroup(this.#quotas, question.beforeToken);
    const after = new MemoryGroup(this.#quotas, question.afterToken);
    return decide(question, before, after, this.#checks);
  }

  revoke(key: string, expiresAt: number): Promise<void> {
    return this.#record(key, undefined, expiresAt * 1000);
  }

  async cutOff(key: string, ttlSeconds: number, at?: number): Promise<number> {
    checkCutOff(ttlSeconds, at);
    const now = Math.floor(this.#now() / 1000);
    const known = this.#read(key);
    // A record that is no cut-off contains no time to go back to. The time of now revokes every token.
    const isUnknown = known !== undefined && known.cutoff === undefined;
    const cutoff = Math.max(at === undefined || isUnknown ? now : Math.min(Math.floor(at), now), known?.cutoff ?? 0);
    await this.#record(key, cutoff, this.#now() + ttlSeconds * 1000);
    return cutoff;
  }

  /**
   * Reads a cut-off in unix seconds; undefined without one. Throws a {@link StoreFault} for a record that is no
   * cut-off.
   */
  cutoffAt(key: string): number | undefined {
    const record = this.#read(key);
    if (record !== undefined && record.cutoff === undefined) throw new StoreFault("unreadable", "WRONGTYPE");
    return record?.cutoff;
  }

  find(keys: readonly string[]): Promise<FoundRecords> {
    const found = new Map<string, number | undefined>();
    for (const key of keys) {
      const record = this.#read(key);
      if (record !== undefined) found.set(key, record.cutoff);
    }
    return Promise.resolve({ found, fault: undefined });
  }

  watch(listener: RecordListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
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

  /** Writes a record. A live record is never dropped to make room: the new revocation is rejected instead. */
  #record(key: string, cutoff: number | undefined, expiresAtMs: number): Promise<void> {
    if (expiresAtMs <= this.#now()) return Promise.resolve();
    if (this.#records.size >= this.#maxRecords && !this.#records.has(key)) {
      for (const [known, record] of this.#records) {
        if (record.expiresAtMs <= this.#now() && record.keptUntil <= this.#steady()) this.#records.delete(known);
      }
      if (this.#records.size >= this.#maxRecords) return Promise.reject(new StoreFault("overloaded"));
    }
    const known = this.#read(key);
    const latest = Math.max(expiresAtMs, known?.expiresAtMs ?? 0);
    const keptUntil = this.#steady() + latest - this.#now();
    this.#records.set(key, { cutoff, expiresAtMs: latest, keptUntil });
    for (const listener of this.#listeners) listener.changed(key);
    return Promise.resolve();
  }
}

/** Consumptions of one question, on the counters of this process. */
class MemoryGroup implements ConsumptionGroup {
  readonly #counters: MemoryCorrections;
  readonly #consumptions: readonly Consumption[];
  #states: CounterState[] = none;

  constructor(counters: MemoryCorrections, consumptions: readonly Consumption[]) {
    this.#counters = counters;
    this.#consumptions = consumptions;
  }

  refuses(): boolean {
    this.#states = this.#counters.peek(this.#consumptions);
    return this.#counters.refuse(this.#consumptions, this.#states);
  }

  count(): readonly CounterState[] {
    return this.#counters.count(this.#consumptions, this.#states);
  }

  /** Counters over their limit include the request, the others do not. */
  leave(): CounterState[] {
    return this.#states.map((state, index) => {
      const consumption = this.#consumptions[index];
      return consumption === undefined || exceeds(consumption, state)
        ? state
        : { ...state, consumed: state.consumed - consumption.cost };
    });
  }

  skip(): undefined[] {
    return this.#consumptions.map(() => undefined);
  }
}

const none: CounterState[] = [];

/**
 * Maximum number of records. A proof lives for about a minute, so that this allows more than a thousand proofs a
 * second.
 */
const maxUses = 100_000;

/** The replay records of this process. */
class ReplayTable {
  /** The ends of the records in milliseconds, in the order of the first uses. */
  readonly #until = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Is this a replay? Records the first use. A full table answers with a fault: it must not drop a live record. */
  repeats({ key, ttlMs }: ReplayCheck): boolean | StoreFault {
    const now = this.#now();
    const known = this.#until.get(key);
    if (known !== undefined && known > now) return true;
    this.#forgetExpired(now);
    if (this.#until.size >= maxUses) return new StoreFault("overloaded");
    this.#until.set(key, now + ttlMs);
    return false;
  }

  /** All records of a gate have the same duration, so that the oldest end first. */
  #forgetExpired(now: number): void {
    for (const [key, until] of this.#until) {
      if (until > now) return;
      this.#until.delete(key);
    }
  }
}
