import { CacheService } from "../../../packages/core/src/cache/cache-service.js";
import type { VerifiedToken } from "../../../packages/core/src/auth/verifier.js";
import { RequestState } from "../../../packages/core/src/adapter.js";
import type { CacheOptions, GateCache, RequestCache } from "../../../packages/core/src/index.js";
import { resolveCache } from "../../../packages/core/src/cache/options.js";
import type {
  CacheSignals,
  SignalledPrefix,
  CacheEntry,
  CacheRead,
  CacheStore,
  GenerationClaim,
  Lease,
  LeaseOutcome,
} from "../../../packages/core/src/store/ports/cache.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryCacheStore } from "../../../packages/core/src/store/memory/cache.js";
import { MemoryChannels } from "../../../packages/core/src/store/memory/channels.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";

export const cacheKeys: Keyspace = new Keyspace("", "key-secret");

/** A store in process that notes what it is asked, and can be away. */
export class FakeCacheStore implements CacheStore {
  readonly clock: { ms: number } = { ms: 1_000_000 };
  readonly channels: MemoryChannels = new MemoryChannels();
  readonly inner: MemoryCacheStore = new MemoryCacheStore({ now: () => this.clock.ms, channels: this.channels });
  /** Keys of values. */
  readonly reads: string[] = [];
  readonly written: CacheEntry[] = [];
  /** How often a lease was asked for. */
  leases = 0;
  /** While set, every call fails with it. */
  failure: Error | undefined;
  /** While set, writes wait for it. */
  writesWait: Promise<void> | undefined;

  now(): number {
    return this.clock.ms;
  }

  goDown(): void {
    this.failure = new StoreFault("unreachable");
  }

  comeBack(): void {
    this.failure = undefined;
  }

  async getMany(keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    this.reads.push(...keys.filter((key) => !key.startsWith(cacheKeys.generationPrefix())));
    this.#check();
    return this.inner.getMany(keys);
  }

  read(read: CacheRead): void {
    this.getMany([read.storeKey, ...read.along]).then(
      ([text, ...along]) => read.answer(text, along),
      (fault: unknown) => read.fail(fault),
    );
  }

  async setMany(entries: readonly CacheEntry[]): Promise<void> {
    await this.writesWait;
    this.#check();
    this.written.push(...entries);
    return this.inner.setMany(entries);
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    this.#check();
    return this.inner.deleteMany(keys);
  }

  async ensureGenerations(keys: readonly string[], ttlMs: number): Promise<string[]> {
    this.#check();
    return this.inner.ensureGenerations(keys, ttlMs);
  }

  async renewGenerations(keys: readonly string[]): Promise<void> {
    this.#check();
    return this.inner.renewGenerations(keys);
  }

  async keep(entries: readonly CacheEntry[], claims: readonly GenerationClaim[], untilMs: number): Promise<string[]> {
    this.#check();
    const found = await this.inner.keep(entries, claims, untilMs);
    if (claims.every(({ named }, index) => named === found[index])) this.written.push(...entries);
    return found;
  }

  async lease(key: string, owner: string, ms: number, force?: boolean): Promise<Lease> {
    this.leases += 1;
    this.#check();
    return this.inner.lease(key, owner, ms, force);
  }

  async extend(key: string, owner: string, ms: number): Promise<boolean> {
    this.#check();
    return this.inner.extend(key, owner, ms);
  }

  async endLease(key: string, owner: string, settlement: LeaseOutcome): Promise<boolean> {
    this.#check();
    if (settlement.outcome === "filled") this.written.push({ key, ...settlement });
    return this.inner.endLease(key, owner, settlement);
  }

  async withdraw(key: string, owner: string): Promise<void> {
    this.#check();
    return this.inner.withdraw(key, owner);
  }

  readonly #returnListeners: (() => void)[] = [];

  onReturn(listener: () => void): void {
    this.#returnListeners.push(listener);
  }

  /** Another store takes its place, which knows an older generation; undefined for none. */
  async returnWith(key: string, generation: string | undefined): Promise<void> {
    this.comeBack();
    await this.inner.deleteMany([key]);
    if (generation !== undefined) await this.inner.keep([], [{ key, named: generation, isNew: true }], Infinity);
    for (const listener of this.#returnListeners) listener();
  }

  close(): void {
    this.inner.close();
  }

  #check(): void {
    if (this.failure !== undefined) throw this.failure;
  }
}

/** Signals that a test gives by hand. */
export class FakeSignals implements CacheSignals {
  readonly channels: MemoryChannels;
  readonly tracked: SignalledPrefix[] = [];
  alive = false;

  constructor(channels: MemoryChannels) {
    this.channels = channels;
  }

  track(tracked: SignalledPrefix): void {
    this.tracked.push(tracked);
  }

  isAlive(): boolean {
    return this.alive;
  }

  /** As Redis tells of a write. */
  changed(key: string): void {
    for (const tracked of this.tracked) if (key.startsWith(tracked.prefix)) tracked.invalidate(key);
  }
}

export interface FakeProcess {
  readonly store: FakeCacheStore;
  readonly signals: FakeSignals;
  readonly service: CacheService;
  readonly cache: GateCache;
  /** The cache of a new request, of this user or of nobody. */
  readonly request: (principal?: string, signal?: AbortSignal) => RequestCache;
}

/** A process that serves requests; several may share a store. Without a tier in process unless the options say so. */
export function openProcess(
  store: FakeCacheStore = new FakeCacheStore(),
  options: CacheOptions = {},
  logger: typeof silentLogger = silentLogger,
): FakeProcess {
  const signals = new FakeSignals(store.channels);
  const resolved = resolveCache({ local: false, ...options });
  const telemetry = new Telemetry();
  const service = new CacheService({ store, signals, keys: cacheKeys, options: resolved, telemetry, logger });
  return {
    store,
    signals,
    service,
    cache: service.gateView,
    request(principal, signal) {
      const state = new RequestState();
      const auth = { principal, subject: principal, issuer: "issuer", claims: { sub: principal } };
      if (principal !== undefined) state.identify({ auth } as unknown as VerifiedToken);
      return service.create(state, signal === undefined ? undefined : { signal });
    },
  };
}
