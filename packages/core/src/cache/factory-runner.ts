import { randomBytes } from "node:crypto";
import type { CacheStore, Lease, LeaseOutcome } from "../store/ports/cache.js";
import { StoreFault } from "../store/ports/fault.js";
import type { FactoryContext } from "./cache-types.js";
import type { Codecs, CachedEntry } from "./entry.js";
import type { ComposedEntry, Entries, NewEntry } from "./entries.js";
import type { EntryGenerations, GenerationSnapshot, Generations } from "./generations.js";
import { snapshotOf, unchanged } from "./generations.js";
import type { Leases, LeaseWaiters } from "./leases.js";
import type { ResolvedCachePolicy } from "./options.js";
import type { Region } from "./regions.js";
import type { SingleFlight } from "./single-flight.js";
import type { Tiers } from "./tiers.js";
import { clearInterval, monotonicNow, setInterval } from "../lib/real-timers.js";
import { steadyNow } from "../lib/steady-clock.js";

/** A call of a factory, and the rules for its result. */
export interface FactoryRun {
  readonly region: Region;
  readonly key: string;
  readonly tags: readonly string[];
  readonly policy: ResolvedCachePolicy;
  readonly factory: (context: FactoryContext) => unknown;
  /** Take the lease from another process, and ignore the stored value. */
  readonly force: boolean;
  /** The entry that the result replaces. */
  readonly stale: CachedEntry | undefined;
  /** Called with the encoded value before it is stored. */
  readonly checkPayload: (payload: string) => void;
  /** Called when the encoded value is too large to be stored. */
  readonly onTooLarge: (size: number) => void;
}

/** The result of a run. All callers read the entry, so that nobody gets the object that the factory returned. */
export interface FactoryResult {
  /** The value if there is no entry: it is undefined, or its own codec cannot read it. */
  readonly value: unknown;
  readonly entry: CachedEntry | undefined;
}

/** Resolves to undefined if another process makes the value, and no caller in this process waits for it. */
export type FactoryFlight = SingleFlight<FactoryResult | undefined>;

/** The reply to a request for the lease. */
interface LeaseReply {
  /** 0: this process holds the lease. */
  readonly waitMs: number;
  /** The stored entry. */
  readonly text: string | undefined;
  readonly generations: EntryGenerations;
  readonly storeKey: string;
  readonly owner: string;
  readonly askedAt: number;
}

/** The owner extends its lease while it lives. After its death the others wait for this time at most. */
const leaseMs = 3000;

export interface FactoryRunnerOptions {
  readonly store: CacheStore;
  readonly tiers: Tiers;
  readonly entries: Entries;
  readonly generations: Generations;
  readonly leases: Leases;
  readonly waiters: LeaseWaiters;
  readonly codecs: Codecs;
  /** UTF-16 units. */
  readonly maxValueSize: number;
}

/**
 * Runs a factory once for all processes: the process that holds the lease in the store runs it. The others wait for an event
 * that the value is stored, and ask for the lease again from time to time, since events may be lost. A process that fails is
 * replaced at once; a process that dies, when its lease expires. While the store is down, each process runs the factory.
 */
export class FactoryRunner {
  readonly #store: CacheStore;
  readonly #tiers: Tiers;
  readonly #entries: Entries;
  readonly #generations: Generations;
  readonly #leases: Leases;
  readonly #waiters: LeaseWaiters;
  readonly #codecs: Codecs;
  readonly #maxValueSize: number;

  constructor({ store, tiers, entries, generations, leases, waiters, codecs, maxValueSize }: FactoryRunnerOptions) {
    this.#store = store;
    this.#tiers = tiers;
    this.#entries = entries;
    this.#generations = generations;
    this.#leases = leases;
    this.#waiters = waiters;
    this.#codecs = codecs;
    this.#maxValueSize = maxValueSize;
  }

  async run(run: FactoryRun, flight: FactoryFlight): Promise<FactoryResult | undefined> {
    const { region, key, tags, stale } = run;
    const storeKey = this.#tiers.storeKey(region, key);
    for (;;) {
      const waiter = this.#waiters.register(storeKey);
      try {
        const lease = await this.#requestLease(run, storeKey);
        if (lease === undefined) return await this.#runWithoutLease(run, flight);
        if (lease.waitMs === 0) return await this.#runWithLease(run, flight, lease);
        if (flight.isBackground) return undefined;
        const end = await waiter.wait(lease.waitMs, flight.signal);
        flight.signal.throwIfAborted();
        if (end === "nothing") return { value: undefined, entry: undefined };
        if (end === "unkept") return await this.#runWithoutLease(run, flight);
        // The reply to the next request for the lease has the stored entry.
        if (end === "time") continue;
      } finally {
        waiter.cancel();
      }
      const entry = await this.#tiers.fetch(region, key, tags);
      if (entry !== undefined && isNewValue(entry, stale)) return { value: undefined, entry };
    }
  }

  /** Undefined while the store is down. */
  async #requestLease({ region, tags, policy, force }: FactoryRun, storeKey: string): Promise<LeaseReply | undefined> {
    const owner = randomBytes(12).toString("base64url");
    const askedAt = steadyNow();
    try {
      const leasing = this.#store.lease(storeKey, owner, leaseMs, force);
      // Generations are read before the factory reads its data, which may change from now on.
      const ensuring = this.#generations.ensure(
        this.#entries.generationsOf(region, tags),
        policy.ttlMs + policy.graceMs,
      );
      const [leased, ensured] = await Promise.allSettled([leasing, ensuring]);
      const isUseless = leased.status === "rejected" || ensured.status === "rejected";
      if (isUseless && mayHold(leased)) this.#leases.giveBack(storeKey, owner);
      const [{ waitMs, value }, generations] = await Promise.all([leasing, ensuring]);
      return { waitMs, text: value, generations, storeKey, owner, askedAt };
    } catch (error) {
      return this.#tiers.reportFault(error);
    }
  }

  async #runWithLease(run: FactoryRun, flight: FactoryFlight, lease: LeaseReply): Promise<FactoryResult> {
    const { region, force, stale } = run;
    const { storeKey, owner, generations, askedAt } = lease;
    let ending: Promise<boolean> | undefined;
    const endLease = (settlement: LeaseOutcome): Promise<boolean> =>
      (ending ??= this.#store.endLease(storeKey, owner, settlement).catch((error: unknown) => {
        this.#leases.giveBack(storeKey, owner);
        this.#tiers.reportFault(error);
        return false;
      }));
    const fail = (): void => void endLease({ outcome: "failed" });
    const heartbeat = setInterval(
      () => void this.#store.extend(storeKey, owner, leaseMs).catch(() => undefined),
      leaseMs / 3,
    );
    heartbeat.unref();
    const forget = this.#leases.hold({ key: storeKey, owner });
    const tombstone = this.#tiers.tombstone(storeKey);
    const ticket = this.#tiers.issueTicket(storeKey);
    // Called at the end of the run, or when the run is aborted: the promise of a factory may never resolve.
    const release = (): void => {
      clearInterval(heartbeat);
      forget();
      this.#tiers.closeTicket(ticket);
      fail();
    };
    flight.signal.addEventListener("abort", release, { once: true });
    try {
      if (!force && tombstone === undefined) {
        const existing = await Promise.resolve(this.#entries.read(region, lease.text, askedAt)).catch(() => undefined);
        if (existing !== undefined && isNewValue(existing, stale)) return { value: undefined, entry: existing };
      }
      const value = await this.#callFactory(run, flight);
      const encoded = this.#encode(run, value);
      if (encoded === undefined) {
        // A waiting caller may have come after an invalidation that this run did not see: it needs a run of its own.
        const isNothing = ticket.isCurrent && unchanged(generations.generations, generations.versions);
        await endLease({ outcome: isNothing ? "nothing" : "failed" });
        return { value: undefined, entry: undefined };
      }
      const composed = this.#entries.compose(region, encoded, generations.values);
      if (this.#isTooLarge(run, encoded)) {
        await endLease({ outcome: "unkept" });
        return this.#resultOf(run, value, composed, generations, askedAt, false);
      }
      const kept = await endLease({ outcome: "filled", value: composed.text, ttlMs: composed.ttlMs });
      if (kept) this.#tiers.clearTombstone(storeKey, tombstone);
      // Where the lease was lost, the store has a newer value.
      return this.#resultOf(run, value, composed, generations, askedAt, kept && ticket.isCurrent);
    } finally {
      flight.signal.removeEventListener("abort", release);
      release();
    }
  }

  /** The local tier keeps the value for `local.ttl`: the store cannot report changes of it. */
  async #runWithoutLease(run: FactoryRun, flight: FactoryFlight): Promise<FactoryResult> {
    const { region, key, tags } = run;
    const askedAt = steadyNow();
    const snapshot = snapshotOf(this.#entries.generationsOf(region, tags));
    const ticket = this.#tiers.issueTicket(this.#tiers.storeKey(region, key));
    const release = (): void => this.#tiers.closeTicket(ticket);
    flight.signal.addEventListener("abort", release, { once: true });
    try {
      const value = await this.#callFactory(run, flight);
      const encoded = this.#encode(run, value);
      if (encoded === undefined) return { value: undefined, entry: undefined };
      const composed = this.#entries.compose(region, encoded, []);
      const isCurrent = !this.#isTooLarge(run, encoded) && ticket.isCurrent;
      return this.#resultOf(run, value, composed, snapshot, askedAt, isCurrent);
    } finally {
      flight.signal.removeEventListener("abort", release);
      release();
    }
  }

  async #callFactory({ region, factory, stale }: FactoryRun, { signal }: FactoryFlight): Promise<unknown> {
    signal.throwIfAborted();
    const since = monotonicNow();
    let failed = true;
    try {
      const value = await factory({ signal, stale: stale?.read() });
      signal.throwIfAborted();
      failed = false;
      return value;
    } finally {
      region.statistics.factoryEnded(monotonicNow() - since, failed);
    }
  }

  /** The entry, kept in process if `isCurrent`. */
  #resultOf(
    { region, key }: FactoryRun,
    value: unknown,
    composed: ComposedEntry,
    snapshot: GenerationSnapshot,
    askedAt: number,
    isCurrent: boolean,
  ): FactoryResult {
    const entry = this.#tiers.admit(region, key, composed, snapshot, askedAt, isCurrent);
    return entry.isReadable ? { value: undefined, entry } : { value, entry: undefined };
  }

  /** Undefined for the value undefined if it is not stored. */
  #encode({ key, tags, policy }: FactoryRun, value: unknown): NewEntry | undefined {
    const { ttlMs, graceMs, jitter, negativeTtlMs } = policy;
    const isNothing = value === undefined || value === null;
    if (value === undefined && negativeTtlMs === undefined) return undefined;
    const ttl = isNothing && negativeTtlMs !== undefined ? negativeTtlMs : ttlMs;
    const common = { key, tags, freshMs: applyJitter(ttl, jitter), graceMs: isNothing ? 0 : graceMs };
    if (value === undefined) return { ...common, letter: "0", payload: "" };
    return { ...common, letter: this.#codecs.letter, payload: this.#codecs.encode(value) };
  }

  /** Checks an entry before it is stored. */
  #isTooLarge({ checkPayload, onTooLarge }: FactoryRun, { letter, payload }: NewEntry): boolean {
    if (payload.length > this.#maxValueSize) {
      onTooLarge(payload.length);
      return true;
    }
    if (letter !== "0") checkPayload(payload);
    return false;
  }
}

/** Shortens a time at random, by the part `jitter` of it at most. */
export function applyJitter(ms: number, jitter: number): number {
  return jitter === 0 ? ms : Math.max(1, ms * (1 - Math.random() * jitter));
}

/** True if this process may hold the lease: the reply may be lost, unless the request was never sent. */
function mayHold(leased: PromiseSettledResult<Lease>): boolean {
  if (leased.status === "fulfilled") return leased.value.waitMs === 0;
  const error: unknown = leased.reason;
  return !(error instanceof StoreFault) || error.mayHaveRun;
}

/** True for a fresh entry that is newer than the stale one. */
function isNewValue(entry: CachedEntry, stale: CachedEntry | undefined): boolean {
  return steadyNow() < entry.freshUntil && (stale === undefined || entry.createdAt > stale.createdAt);
}
