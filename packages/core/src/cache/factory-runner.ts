import { randomBytes } from "node:crypto";
import type { ResolvedCachePolicy } from "./options.js";
import type { Lease, Settlement } from "../store/ports/cache.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { CachedEntry } from "./cached-entry.js";
import type { JoinedRun } from "./joined-run.js";
import { unchanged } from "./generation.js";
import type { TieredCache } from "./tiers.js";
import type { LeaseReleases } from "./lease-releases.js";
import type { Region } from "./regions.js";
import type { NewEntry, EntryGenerations, Writer } from "./writer.js";

/** What a factory is told. */
export interface FactoryContext<T = unknown> {
  /** Aborted when nobody waits for the value any more: their requests have ended, or `hardTimeout` has. */
  readonly signal: AbortSignal;
  /** The value to be replaced, if there is one. */
  readonly stale: T | undefined;
}

/** A value to be made. */
export interface FactoryRun {
  readonly place: Region;
  readonly key: string;
  readonly tags: readonly string[];
  readonly policy: ResolvedCachePolicy;
  readonly factory: (context: FactoryContext) => unknown;
  /** Take over from whoever makes it, and take no value that is there. */
  readonly force: boolean;
  /** What there is already. */
  readonly stale: CachedEntry | undefined;
  /** Told of what is about to be kept. */
  readonly review: (payload: string) => void;
  /** Told that a value is too large to be kept. */
  readonly tooLarge: (size: number) => void;
}

/** What came of it: for who made it the value itself, for all others the entry. */
export interface FactoryResult {
  readonly value: unknown;
  readonly entry: CachedEntry | undefined;
}

/** Undefined if another process is at it, and nobody here waits for it. */
export type FactoryFlight = JoinedRun<FactoryResult | undefined>;

interface HeldLease {
  readonly waitMs: number;
  /** What is stored there now. */
  readonly text: string | undefined;
  readonly stamps: EntryGenerations;
  readonly storeKey: string;
  readonly owner: string;
  readonly askedAt: number;
}

/** A lease lasts for as long as its owner lives, and is not much longer than that. */
const leaseMs = 3000;

/**
 * Makes values: one process at a time makes one, by a lease in the store; the others wait until they are told that it is
 * there, and look at the lease again every moment, since news may be lost. An owner that dies is replaced when its lease runs
 * out, one that fails at once. Whoever finds the store away makes the value alone.
 */
export class FactoryRunner {
  readonly #cache: TieredCache;
  readonly #writer: Writer;
  readonly #releases: LeaseReleases;

  constructor(cache: TieredCache, writer: Writer) {
    this.#cache = cache;
    this.#writer = writer;
    this.#releases = cache.releases;
  }

  async make(job: FactoryRun, flight: FactoryFlight): Promise<FactoryResult | undefined> {
    const { place, key, tags, stale } = job;
    const storeKey = this.#cache.storeKey(place, key);
    for (;;) {
      const waiter = this.#cache.waiting.register(storeKey);
      try {
        const lease = await this.#lease(job, storeKey);
        if (lease === undefined) return await this.#makeAlone(job, flight);
        if (lease.waitMs === 0) return await this.#makeForAll(job, flight, lease);
        if (flight.background) return undefined;
        const end = await waiter.wait(lease.waitMs, flight.signal);
        flight.signal.throwIfAborted();
        if (end === "nothing") return { value: undefined, entry: undefined };
        if (end === "unkept") return await this.#makeAlone(job, flight);
        // The lease comes with what is stored.
        if (end === "time") continue;
      } finally {
        waiter.cancel();
      }
      const entry = await this.#cache.fetch(place, key, tags);
      if (entry !== undefined && isNewValue(entry, stale)) return { value: entry.read(), entry };
    }
  }

  /** Undefined while the store is down. */
  async #lease({ place, tags, policy, force }: FactoryRun, storeKey: string): Promise<HeldLease | undefined> {
    const { store } = this.#cache;
    const owner = randomBytes(12).toString("base64url");
    const askedAt = performance.now();
    try {
      const leasing = store.lease(storeKey, owner, leaseMs, force);
      // Before the factory reads anything: what it reads may change from now on.
      const stamping = this.#writer.stamps(place, tags, policy.ttlMs + policy.graceMs);
      const [leased, stamped] = await Promise.allSettled([leasing, stamping]);
      const isUseless = leased.status === "rejected" || stamped.status === "rejected";
      if (isUseless && mayHold(leased)) this.#releases.giveBack(storeKey, owner);
      const [{ waitMs, value }, stamps] = await Promise.all([leasing, stamping]);
      return { waitMs, text: value, stamps, storeKey, owner, askedAt };
    } catch (error) {
      return this.#cache.reportMiss(error);
    }
  }

  async #makeForAll(job: FactoryRun, flight: FactoryFlight, lease: HeldLease): Promise<FactoryResult> {
    const { place, key, force, stale } = job;
    const { storeKey, owner, stamps, askedAt } = lease;
    const { store } = this.#cache;
    let settled: Promise<boolean> | undefined;
    const settle = (settlement: Settlement): Promise<boolean> =>
      (settled ??= store.settle(storeKey, owner, settlement).catch((error: unknown) => {
        this.#releases.giveBack(storeKey, owner);
        this.#cache.reportMiss(error);
        return false;
      }));
    const fail = (): void => void settle({ outcome: "failed" });
    const heart = setInterval(() => void store.extend(storeKey, owner, leaseMs).catch(() => undefined), leaseMs / 3);
    heart.unref();
    const forget = this.#cache.leases.add({ key: storeKey, owner });
    const missed = this.#cache.tombstone(storeKey);
    const mark = this.#cache.watch(storeKey);
    /** At its end, and when it is given up: a factory may never settle. */
    const release = (): void => {
      clearInterval(heart);
      forget();
      this.#cache.unwatch(mark);
      fail();
    };
    flight.signal.addEventListener("abort", release, { once: true });
    try {
      if (!force && missed === undefined) {
        const there = await Promise.resolve(this.#cache.entries.interpret(place, lease.text, askedAt)).catch(
          () => undefined,
        );
        if (there !== undefined && isNewValue(there, stale)) return { value: there.read(), entry: there };
      }
      const value = await this.#call(job, flight);
      const fresh = this.#encode(job, value);
      if (fresh === undefined) {
        // Of those who wait, some may have asked after an invalidation that this making did not see: they make it anew.
        const isNothing = value === undefined && mark.fit && unchanged(stamps.generations, stamps.epochs);
        await settle({ outcome: isNothing ? "nothing" : value === undefined ? "failed" : "unkept" });
        return { value, entry: undefined };
      }
      const composed = this.#writer.compose(place, fresh, stamps.values);
      const kept = await settle({ outcome: "filled", value: composed.text, ttlMs: composed.ttlMs });
      if (kept) this.#cache.bury(storeKey, missed);
      // A value whose lease was lost is older than what is there by now.
      return { value, entry: this.#writer.keep(place, key, composed, stamps, askedAt, kept && mark.fit) };
    } finally {
      flight.signal.removeEventListener("abort", release);
      release();
    }
  }

  /** Without a lease: the value is kept in process for as long as one is without proof. */
  async #makeAlone(job: FactoryRun, flight: FactoryFlight): Promise<FactoryResult> {
    const { place, key, tags } = job;
    const askedAt = performance.now();
    const generations = this.#cache.entries.generationsOf(place, tags);
    const stand = { generations, epochs: generations.map(({ epoch }) => epoch) };
    const mark = this.#cache.watch(this.#cache.storeKey(place, key));
    const release = (): void => this.#cache.unwatch(mark);
    flight.signal.addEventListener("abort", release, { once: true });
    try {
      const value = await this.#call(job, flight);
      const fresh = this.#encode(job, value);
      if (fresh === undefined) return { value, entry: undefined };
      const composed = this.#writer.compose(place, fresh, []);
      return { value, entry: this.#writer.keep(place, key, composed, stand, askedAt, mark.fit) };
    } finally {
      flight.signal.removeEventListener("abort", release);
      release();
    }
  }

  async #call({ place, factory, stale }: FactoryRun, { signal }: FactoryFlight): Promise<unknown> {
    signal.throwIfAborted();
    const since = performance.now();
    let failed = true;
    try {
      const value = await factory({ signal, stale: stale?.read() });
      signal.throwIfAborted();
      failed = false;
      return value;
    } finally {
      place.statistics.factoryEnded(performance.now() - since, failed);
    }
  }

  /** Undefined for what is not kept. */
  #encode({ key, tags, policy, review, tooLarge }: FactoryRun, value: unknown): NewEntry | undefined {
    const { ttlMs, graceMs, jitter, negativeTtlMs } = policy;
    const isNothing = value === undefined || value === null;
    if (value === undefined && negativeTtlMs === undefined) return undefined;
    const lives = isNothing && negativeTtlMs !== undefined ? negativeTtlMs : ttlMs;
    const common = { key, tags, freshMs: shorten(lives, jitter), graceMs: isNothing ? 0 : graceMs };
    if (value === undefined) return { ...common, letter: "0", payload: "" };
    const { codecs, options } = this.#cache;
    const payload = codecs.encode(value);
    if (payload.length > options.maxValueSize) {
      tooLarge(payload.length);
      return undefined;
    }
    review(payload);
    return { ...common, letter: codecs.letter, payload };
  }
}

/** By up to a part of it, at random. */
export function shorten(ms: number, jitter: number): number {
  return jitter === 0 ? ms : Math.max(1, ms * (1 - Math.random() * jitter));
}

/** May the lease have been got? Its answer may be lost, unless it was never asked for. */
function mayHold(leased: PromiseSettledResult<Lease>): boolean {
  if (leased.status === "fulfilled") return leased.value.waitMs === 0;
  const error: unknown = leased.reason;
  return !(error instanceof StoreFault && (error.kind === "open" || error.kind === "overloaded"));
}

/** Is it fresh, and another one than what there was? */
function isNewValue(entry: CachedEntry, stale: CachedEntry | undefined): boolean {
  return performance.now() < entry.freshUntil && (stale === undefined || entry.createdAt > stale.createdAt);
}
