import type { CachedEntry } from "./cached-entry.js";
import type { GenerationSnapshot } from "./entry-reader.js";
import { epochOf } from "./entry-reader.js";
import { JoinedRun } from "./joined-run.js";
import { unchanged } from "./generation.js";
import type { ReadTicket } from "./read-tickets.js";
import type { TieredCache } from "./tiers.js";
import type { FactoryRun, FactoryResult, FactoryFlight } from "./factory-runner.js";
import { FactoryRunner } from "./factory-runner.js";
import type { Writer } from "./writer.js";

/** A value that is wanted, and could not be had from memo or process. */
export interface GetOrSetRequest extends Omit<FactoryRun, "stale"> {
  /** Aborted when the request behind it ends. */
  readonly request: AbortSignal | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A making that is under way, and what it stands and falls with since it began. */
interface UnderWay extends GenerationSnapshot {
  readonly flight: FactoryFlight;
  readonly mark: ReadTicket;
}

/** The soft time-out came first. */
const slow = Symbol("slow");

/** The policy of `getOrSet`: what is good enough, who makes what is not, and how long anybody waits. */
export class GetOrSet {
  readonly #cache: TieredCache;
  readonly #maker: FactoryRunner;
  readonly #flights = new Map<string, UnderWay>();

  constructor(cache: TieredCache, writer: Writer) {
    this.#cache = cache;
    this.#maker = new FactoryRunner(cache, writer);
  }

  /** `isMissing`: the caller knows that there is nothing in the store. */
  async obtain(order: GetOrSetRequest, isMissing: boolean): Promise<unknown> {
    const { place, key, tags, policy, force, signal } = order;
    const { statistics } = place;
    signal?.throwIfAborted();
    // Before anything is made: news of invalidations decide who may share it.
    this.#cache.waiting.listen();
    const found = force || isMissing ? undefined : await this.#cache.fetch(place, key, tags);
    const now = performance.now();
    if (found !== undefined && now < found.freshUntil) {
      statistics.count("store");
      this.refreshEarly(found, order);
      return found.read();
    }
    const stale = found !== undefined && now < found.freshUntil + policy.graceMs ? found : undefined;
    const job = { ...order, stale };
    if (stale === undefined) {
      statistics.count("miss");
      return this.#make(job);
    }
    if (policy.swr) {
      this.#makeBehind(job);
    } else {
      try {
        const made = await within(policy.timeoutMs, this.#make(job));
        if (made !== slow) {
          statistics.count("miss");
          return made;
        }
      } catch (error) {
        if (signal?.aborted === true) throw error;
      }
    }
    statistics.count("stale");
    return stale.read();
  }

  /** Makes a new value in the background if the time for that has come. */
  refreshEarly(entry: CachedEntry, order: GetOrSetRequest): void {
    const { earlyRefresh } = order.policy;
    if (earlyRefresh === undefined) return;
    const dueAt = entry.bornAt + earlyRefresh * (entry.freshUntil - entry.bornAt);
    if (performance.now() >= dueAt) this.#makeBehind({ ...order, stale: entry });
  }

  async #make(job: GetOrSetRequest & FactoryRun): Promise<unknown> {
    const { policy, request, signal, force } = job;
    const { flight, isNew } = this.#flightOf(job, force);
    flight.background = false;
    const made = await flight.join({ hardMs: policy.hardTimeoutMs, request, signal });
    // It gave up before anybody waited for it: once more.
    if (made === undefined) return this.#make(job);
    return isNew || made.entry === undefined ? made.value : made.entry.read();
  }

  #makeBehind(job: GetOrSetRequest & FactoryRun): void {
    const { flight, isNew } = this.#flightOf(job, false);
    const joining = { hardMs: job.policy.hardTimeoutMs, request: undefined, signal: undefined };
    if (isNew) flight.join(joining).catch(() => undefined);
  }

  /**
   * The making that is under way, or a new one. One that is forced takes no part in what began before it; nor does one that
   * comes after an invalidation, since its caller must not get what was read before.
   */
  #flightOf(job: FactoryRun, force: boolean): { readonly flight: FactoryFlight; readonly isNew: boolean } {
    const { place, key, tags } = job;
    const name = place.prefix + key;
    const known = this.#flights.get(name);
    if (known !== undefined && !force && isJoinable(known)) return { flight: known.flight, isNew: false };
    const cache = this.#cache;
    const generations = cache.entries.generationsOf(place, tags);
    const mark = cache.watch(cache.storeKey(place, key));
    const flight: FactoryFlight = new JoinedRun<FactoryResult | undefined>(
      (own) => this.#maker.make(job, own),
      () => {
        cache.unwatch(mark);
        if (this.#flights.get(name) === underWay) this.#flights.delete(name);
      },
    );
    const underWay = { flight, mark, generations, epochs: generations.map(epochOf) };
    this.#flights.set(name, underWay);
    return { flight, isNew: true };
  }
}

function isJoinable({ flight, mark, generations, epochs }: UnderWay): boolean {
  return !flight.signal.aborted && mark.fit && unchanged(generations, epochs);
}

/** What a promise resolves to, or `slow` after a while; then nobody hears of its failure. */
async function within(ms: number | undefined, promise: Promise<unknown>): Promise<unknown> {
  if (ms === undefined) return promise;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof slow>((resolve) => {
    timer = setTimeout(() => resolve(slow), ms);
  });
  promise.catch(() => undefined);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
