import type { Entries } from "./entries.js";
import type { CachedEntry } from "./entry.js";
import type { FactoryFlight, FactoryResult, FactoryRun, FactoryRunner } from "./factory-runner.js";
import type { GenerationSnapshot } from "./generations.js";
import { snapshotOf, unchanged } from "./generations.js";
import type { LeaseWaiters } from "./leases.js";
import { SingleFlight } from "./single-flight.js";
import type { ReadTicket, Tiers } from "./tiers.js";
import { clearTimeout, setTimeout } from "../lib/real-timers.js";
import { steadyNow } from "../lib/steady-clock.js";

/** A call of getOrSet that neither the memo nor the local tier could answer. */
export interface GetOrSetRequest extends Omit<FactoryRun, "stale"> {
  /** Aborted when the HTTP request ends. */
  readonly requestSignal: AbortSignal | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A run that callers may join while its key and its generations are unchanged. */
interface ActiveFlight extends GenerationSnapshot {
  readonly flight: FactoryFlight;
  readonly ticket: ReadTicket;
}

/** The soft timeout came before the value. */
const timedOut = Symbol("timed out");

export interface GetOrSetParts {
  readonly tiers: Tiers;
  readonly entries: Entries;
  readonly waiters: LeaseWaiters;
  readonly runner: FactoryRunner;
}

/** Decides for `getOrSet`: which stored entry is good enough, which calls share a run of the factory, how long they wait. */
export class GetOrSet {
  readonly #tiers: Tiers;
  readonly #entries: Entries;
  readonly #waiters: LeaseWaiters;
  readonly #runner: FactoryRunner;
  #isSubscribed = false;
  readonly #flights = new Map<string, ActiveFlight>();

  constructor({ tiers, entries, waiters, runner }: GetOrSetParts) {
    this.#tiers = tiers;
    this.#entries = entries;
    this.#waiters = waiters;
    this.#runner = runner;
  }

  /** Reads the store, or runs the factory. `isMissing`: the caller knows that the store has no entry. */
  async resolve(request: GetOrSetRequest, isMissing: boolean): Promise<unknown> {
    const { region, key, tags, policy, force, signal } = request;
    const { statistics } = region;
    signal?.throwIfAborted();
    // Before a run begins: later invalidations decide which callers may share it.
    if (!this.#isSubscribed) this.#waiters.subscribe();
    this.#isSubscribed = true;
    const found = force || isMissing ? undefined : await this.#tiers.fetch(region, key, tags);
    const now = steadyNow();
    if (found !== undefined && now < found.freshUntil) {
      statistics.count("store");
      this.refreshEarly(found, request);
      return found.read();
    }
    const stale = found !== undefined && now < found.freshUntil + policy.graceMs ? found : undefined;
    const run = { ...request, stale };
    if (stale === undefined) {
      statistics.count("miss");
      return this.#runFactory(run);
    }
    if (policy.swr) {
      this.#runInBackground(run);
    } else {
      try {
        const result = await withTimeout(policy.timeoutMs, this.#runFactory(run));
        if (result !== timedOut) {
          statistics.count("miss");
          return result;
        }
      } catch (error) {
        if (signal?.aborted === true) throw error;
      }
    }
    statistics.count("stale");
    return stale.read();
  }

  /** Runs the factory in the background once the entry has reached the age of `earlyRefresh`. */
  refreshEarly(entry: CachedEntry, request: GetOrSetRequest): void {
    const { earlyRefresh } = request.policy;
    if (earlyRefresh === undefined) return;
    const dueAt = entry.monotonicCreatedAt + earlyRefresh * (entry.freshUntil - entry.monotonicCreatedAt);
    if (steadyNow() >= dueAt) this.#runInBackground({ ...request, stale: entry });
  }

  async #runFactory(run: GetOrSetRequest & FactoryRun): Promise<unknown> {
    const { policy, requestSignal, signal, force } = run;
    const { flight } = this.#joinOrStart(run, force);
    flight.isBackground = false;
    const result = await flight.join({ timeoutMs: policy.hardTimeoutMs, requestSignal, signal });
    // The run was in the background and gave up before this caller joined it.
    if (result === undefined) return this.#runFactory(run);
    return result.entry === undefined ? result.value : result.entry.read();
  }

  #runInBackground(run: GetOrSetRequest & FactoryRun): void {
    const { flight, isNew } = this.#joinOrStart(run, false);
    const joining = { timeoutMs: run.policy.hardTimeoutMs, requestSignal: undefined, signal: undefined };
    if (isNew) flight.join(joining).catch(() => undefined);
  }

  /**
   * The active run, or a new one. A forced call joins no run that began before it. A call after an invalidation joins none
   * either: its caller must not get a value that was read before the invalidation.
   */
  #joinOrStart(run: FactoryRun, force: boolean): { readonly flight: FactoryFlight; readonly isNew: boolean } {
    const { region, key, tags } = run;
    const name = region.prefix + key;
    const known = this.#flights.get(name);
    if (known !== undefined && !force && isJoinable(known)) return { flight: known.flight, isNew: false };
    const tiers = this.#tiers;
    const snapshot = snapshotOf(this.#entries.generationsOf(region, tags));
    const ticket = tiers.issueTicket(tiers.storeKey(region, key));
    const flight: FactoryFlight = new SingleFlight<FactoryResult | undefined>(
      (own) => this.#runner.run(run, own),
      () => {
        tiers.closeTicket(ticket);
        if (this.#flights.get(name) === active) this.#flights.delete(name);
      },
    );
    const active = { flight, ticket, ...snapshot };
    this.#flights.set(name, active);
    return { flight, isNew: true };
  }
}

function isJoinable({ flight, ticket, generations, versions }: ActiveFlight): boolean {
  return !flight.signal.aborted && ticket.isCurrent && unchanged(generations, versions);
}

/** The result of a promise, or `timedOut` after `ms`; a later rejection is ignored. */
async function withTimeout(ms: number | undefined, promise: Promise<unknown>): Promise<unknown> {
  if (ms === undefined) return promise;
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<typeof timedOut>((resolve) => {
    timer = setTimeout(() => resolve(timedOut), ms);
  });
  promise.catch(() => undefined);
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}
