import type { CachedEntry } from "./cached-entry.js";
import type { GenerationSnapshot } from "./entry-reader.js";
import { versionOf } from "./entry-reader.js";
import { SingleFlight } from "./joined-run.js";
import { unchanged } from "./generation.js";
import type { ReadTicket } from "./read-tickets.js";
import type { Tiers } from "./tiers.js";
import type { FactoryRun, FactoryResult, FactoryFlight } from "./factory-runner.js";
import { FactoryRunner } from "./factory-runner.js";
import type { Writer } from "./writer.js";

/** A value that is wanted, and could not be had from memo or process. */
export interface GetOrSetRequest extends Omit<FactoryRun, "stale"> {
  /** Aborted when the request behind it ends. */
  readonly requestSignal: AbortSignal | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A making that is under way, and what it stands and falls with since it began. */
interface ActiveFlight extends GenerationSnapshot {
  readonly flight: FactoryFlight;
  readonly ticket: ReadTicket;
}

/** The soft time-out came first. */
const timedOut = Symbol("slow");

/** The policy of `getOrSet`: what is good enough, who makes what is not, and how long anybody waits. */
export class GetOrSet {
  readonly #cache: Tiers;
  readonly #runner: FactoryRunner;
  readonly #flights = new Map<string, ActiveFlight>();

  constructor(cache: Tiers, writer: Writer) {
    this.#cache = cache;
    this.#runner = new FactoryRunner(cache, writer);
  }

  /** `isMissing`: the caller knows that there is nothing in the store. */
  async resolve(request: GetOrSetRequest, isMissing: boolean): Promise<unknown> {
    const { region, key, tags, policy, force, signal } = request;
    const { statistics } = region;
    signal?.throwIfAborted();
    // Before anything is made: news of invalidations decide who may share it.
    this.#cache.waiting.subscribe();
    const found = force || isMissing ? undefined : await this.#cache.fetch(region, key, tags);
    const now = performance.now();
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

  /** Makes a new value in the background if the time for that has come. */
  refreshEarly(entry: CachedEntry, request: GetOrSetRequest): void {
    const { earlyRefresh } = request.policy;
    if (earlyRefresh === undefined) return;
    const dueAt = entry.monotonicCreatedAt + earlyRefresh * (entry.freshUntil - entry.monotonicCreatedAt);
    if (performance.now() >= dueAt) this.#runInBackground({ ...request, stale: entry });
  }

  async #runFactory(run: GetOrSetRequest & FactoryRun): Promise<unknown> {
    const { policy, requestSignal, signal, force } = run;
    const { flight, isNew } = this.#joinOrStart(run, force);
    flight.isBackground = false;
    const result = await flight.join({ timeoutMs: policy.hardTimeoutMs, requestSignal, signal });
    // It gave up before anybody waited for it: once more.
    if (result === undefined) return this.#runFactory(run);
    return isNew || result.entry === undefined ? result.value : result.entry.read();
  }

  #runInBackground(run: GetOrSetRequest & FactoryRun): void {
    const { flight, isNew } = this.#joinOrStart(run, false);
    const joining = { timeoutMs: run.policy.hardTimeoutMs, requestSignal: undefined, signal: undefined };
    if (isNew) flight.join(joining).catch(() => undefined);
  }

  /**
   * The making that is under way, or a new one. One that is forced takes no part in what began before it; nor does one that
   * comes after an invalidation, since its caller must not get what was read before.
   */
  #joinOrStart(run: FactoryRun, force: boolean): { readonly flight: FactoryFlight; readonly isNew: boolean } {
    const { region, key, tags } = run;
    const name = region.prefix + key;
    const known = this.#flights.get(name);
    if (known !== undefined && !force && isJoinable(known)) return { flight: known.flight, isNew: false };
    const cache = this.#cache;
    const generations = cache.entries.generationsOf(region, tags);
    const ticket = cache.issueTicket(cache.storeKey(region, key));
    const flight: FactoryFlight = new SingleFlight<FactoryResult | undefined>(
      (own) => this.#runner.run(run, own),
      () => {
        cache.closeTicket(ticket);
        if (this.#flights.get(name) === active) this.#flights.delete(name);
      },
    );
    const active = { flight, ticket, generations, versions: generations.map(versionOf) };
    this.#flights.set(name, active);
    return { flight, isNew: true };
  }
}

function isJoinable({ flight, ticket, generations, versions }: ActiveFlight): boolean {
  return !flight.signal.aborted && ticket.isCurrent && unchanged(generations, versions);
}

/** What a promise resolves to, or `slow` after a while; then nobody hears of its failure. */
async function withTimeout(ms: number | undefined, promise: Promise<unknown>): Promise<unknown> {
  if (ms === undefined) return promise;
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<typeof timedOut>((resolve) => {
    timer = setTimeout(() => resolve(timedOut), ms);
  });
  promise.catch(() => undefined);
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}
