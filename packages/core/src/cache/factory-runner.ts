import { randomBytes } from "node:crypto";
import type { ResolvedCachePolicy } from "./options.js";
import type { Lease, Settlement } from "../store/ports/cache.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { CachedEntry } from "./cached-entry.js";
import type { SingleFlight } from "./joined-run.js";
import { unchanged } from "./generation.js";
import type { Tiers } from "./tiers.js";
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
  readonly region: Region;
  readonly key: string;
  readonly tags: readonly string[];
  readonly policy: ResolvedCachePolicy;
  readonly factory: (context: FactoryContext) => unknown;
  /** Take over from whoever makes it, and take no value that is there. */
  readonly force: boolean;
  /** What there is already. */
  readonly stale: CachedEntry | undefined;
  /** Told of what is about to be kept. */
  readonly checkPayload: (payload: string) => void;
  /** Told that a value is too large to be kept. */
  readonly onTooLarge: (size: number) => void;
}

/** What came of it: for who made it the value itself, for all others the entry. */
export interface FactoryResult {
  readonly value: unknown;
  readonly entry: CachedEntry | undefined;
}

/** Undefined if another process is at it, and nobody here waits for it. */
export type FactoryFlight = SingleFlight<FactoryResult | undefined>;

interface LeaseReply {
  readonly waitMs: number;
  /** What is stored there now. */
  readonly text: string | undefined;
  readonly generations: EntryGenerations;
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
  readonly #cache: Tiers;
  readonly #writer: Writer;
  readonly #releases: LeaseReleases;

  constructor(cache: Tiers, writer: Writer) {
    this.#cache = cache;
    this.#writer = writer;
    this.#releases = cache.releases;
  }

  async run(run: FactoryRun, flight: FactoryFlight): Promise<FactoryResult | undefined> {
    const { region, key, tags, stale } = run;
    const storeKey = this.#cache.storeKey(region, key);
    for (;;) {
      const waiter = this.#cache.waiting.register(storeKey);
      try {
        const lease = await this.#requestLease(run, storeKey);
        if (lease === undefined) return await this.#runWithoutLease(run, flight);
        if (lease.waitMs === 0) return await this.#runWithLease(run, flight, lease);
        if (flight.isBackground) return undefined;
        const end = await waiter.wait(lease.waitMs, flight.signal);
        flight.signal.throwIfAborted();
        if (end === "nothing") return { value: undefined, entry: undefined };
        if (end === "unkept") return await this.#runWithoutLease(run, flight);
        // The lease comes with what is stored.
        if (end === "time") continue;
      } finally {
        waiter.cancel();
      }
      const entry = await this.#cache.fetch(region, key, tags);
      if (entry !== undefined && isNewValue(entry, stale)) return { value: entry.read(), entry };
    }
  }

  /** Undefined while the store is down. */
  async #requestLease({ region, tags, policy, force }: FactoryRun, storeKey: string): Promise<LeaseReply | undefined> {
    const { store } = this.#cache;
    const owner = randomBytes(12).toString("base64url");
    const askedAt = performance.now();
    try {
      const leasing = store.lease(storeKey, owner, leaseMs, force);
      // Before the factory reads anything: what it reads may change from now on.
      const ensuring = this.#writer.ensureGenerations(region, tags, policy.ttlMs + policy.graceMs);
      const [leased, ensured] = await Promise.allSettled([leasing, ensuring]);
      const isUseless = leased.status === "rejected" || ensured.status === "rejected";
      if (isUseless && mayHold(leased)) this.#releases.giveBack(storeKey, owner);
      const [{ waitMs, value }, generations] = await Promise.all([leasing, ensuring]);
      return { waitMs, text: value, generations, storeKey, owner, askedAt };
    } catch (error) {
      return this.#cache.reportFault(error);
    }
  }

  async #runWithLease(run: FactoryRun, flight: FactoryFlight, lease: LeaseReply): Promise<FactoryResult> {
    const { region, key, force, stale } = run;
    const { storeKey, owner, generations, askedAt } = lease;
    const { store } = this.#cache;
    let ending: Promise<boolean> | undefined;
    const endLease = (settlement: Settlement): Promise<boolean> =>
      (ending ??= store.settle(storeKey, owner, settlement).catch((error: unknown) => {
        this.#releases.giveBack(storeKey, owner);
        this.#cache.reportFault(error);
        return false;
      }));
    const fail = (): void => void endLease({ outcome: "failed" });
    const heartbeat = setInterval(
      () => void store.extend(storeKey, owner, leaseMs).catch(() => undefined),
      leaseMs / 3,
    );
    heartbeat.unref();
    const forget = this.#cache.leases.add({ key: storeKey, owner });
    const missed = this.#cache.tombstone(storeKey);
    const ticket = this.#cache.issueTicket(storeKey);
    /** At its end, and when it is given up: a factory may never settle. */
    const release = (): void => {
      clearInterval(heartbeat);
      forget();
      this.#cache.closeTicket(ticket);
      fail();
    };
    flight.signal.addEventListener("abort", release, { once: true });
    try {
      if (!force && missed === undefined) {
        const existing = await Promise.resolve(this.#cache.entries.read(region, lease.text, askedAt)).catch(
          () => undefined,
        );
        if (existing !== undefined && isNewValue(existing, stale)) return { value: existing.read(), entry: existing };
      }
      const value = await this.#callFactory(run, flight);
      const encoded = this.#encode(run, value);
      if (encoded === undefined) {
        // Of those who wait, some may have asked after an invalidation that this making did not see: they make it anew.
        const isNothing =
          value === undefined && ticket.isCurrent && unchanged(generations.generations, generations.versions);
        await endLease({ outcome: isNothing ? "nothing" : value === undefined ? "failed" : "unkept" });
        return { value, entry: undefined };
      }
      const composed = this.#writer.compose(region, encoded, generations.values);
      const kept = await endLease({ outcome: "filled", value: composed.text, ttlMs: composed.ttlMs });
      if (kept) this.#cache.clearTombstone(storeKey, missed);
      // A value whose lease was lost is older than what is there by now.
      return { value, entry: this.#writer.keep(region, key, composed, generations, askedAt, kept && ticket.isCurrent) };
    } finally {
      flight.signal.removeEventListener("abort", release);
      release();
    }
  }

  /** Without a lease: the value is kept in process for as long as one is without proof. */
  async #runWithoutLease(run: FactoryRun, flight: FactoryFlight): Promise<FactoryResult> {
    const { region, key, tags } = run;
    const askedAt = performance.now();
    const generations = this.#cache.entries.generationsOf(region, tags);
    const snapshot = { generations, versions: generations.map(({ version: epoch }) => epoch) };
    const ticket = this.#cache.issueTicket(this.#cache.storeKey(region, key));
    const release = (): void => this.#cache.closeTicket(ticket);
    flight.signal.addEventListener("abort", release, { once: true });
    try {
      const value = await this.#callFactory(run, flight);
      const encoded = this.#encode(run, value);
      if (encoded === undefined) return { value, entry: undefined };
      const composed = this.#writer.compose(region, encoded, []);
      return { value, entry: this.#writer.keep(region, key, composed, snapshot, askedAt, ticket.isCurrent) };
    } finally {
      flight.signal.removeEventListener("abort", release);
      release();
    }
  }

  async #callFactory({ region, factory, stale }: FactoryRun, { signal }: FactoryFlight): Promise<unknown> {
    signal.throwIfAborted();
    const since = performance.now();
    let failed = true;
    try {
      const value = await factory({ signal, stale: stale?.read() });
      signal.throwIfAborted();
      failed = false;
      return value;
    } finally {
      region.statistics.factoryEnded(performance.now() - since, failed);
    }
  }

  /** Undefined for what is not kept. */
  #encode({ key, tags, policy, checkPayload, onTooLarge }: FactoryRun, value: unknown): NewEntry | undefined {
    const { ttlMs, graceMs, jitter, negativeTtlMs } = policy;
    const isNothing = value === undefined || value === null;
    if (value === undefined && negativeTtlMs === undefined) return undefined;
    const ttl = isNothing && negativeTtlMs !== undefined ? negativeTtlMs : ttlMs;
    const common = { key, tags, freshMs: applyJitter(ttl, jitter), graceMs: isNothing ? 0 : graceMs };
    if (value === undefined) return { ...common, letter: "0", payload: "" };
    const { codecs, options } = this.#cache;
    const payload = codecs.encode(value);
    if (payload.length > options.maxValueSize) {
      onTooLarge(payload.length);
      return undefined;
    }
    checkPayload(payload);
    return { ...common, letter: codecs.letter, payload };
  }
}

/** By up to a part of it, at random. */
export function applyJitter(ms: number, jitter: number): number {
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
