import type { Finding, StoreHealth, StoreState } from "./ports/health.js";
import type { ResolvedOptions } from "../options.js";
import type { BreakerControl } from "../lib/breaker.js";

import type { CacheSignals } from "./ports/cache.js";
import type { Channels, MessageOutcome } from "./ports/channels.js";
import type { Keyspace } from "./keyspace.js";
import type { IdempotencyStore } from "./ports/idempotency.js";
import type { LoginStore } from "./ports/logins.js";
import { MemoryChannels } from "./memory/channels.js";
import type { EventLog } from "./ports/event-log.js";
import type { LockStore } from "./ports/locks.js";
import { MemoryEventLog } from "./memory/event-log.js";
import { MemoryLockStore } from "./memory/locks.js";
import { MemoryIdempotencyStore } from "./memory/idempotency.js";
import { MemoryLoginStore } from "./memory/logins.js";
import { MemoryDecisionStore } from "./memory/decisions.js";
import { MemoryOneTimeStore } from "./memory/one-time.js";
import { MemorySessionStore } from "./memory/sessions.js";
import { MemoryLimitOverrides } from "./memory/limit-overrides.js";
import type { SharedIssuer } from "./shared-issuer.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { CacheStore, UsageCorrections, DecisionStore } from "./ports/decisions.js";
import { StoreFault } from "./ports/fault.js";
import type { OneTimeStore } from "./ports/one-time.js";
import type { RevocationRecords, RevocationStore } from "./ports/revocation.js";
import { marginSecondsFor, recordEnd } from "./ports/revocation.js";
import type { StoreInspection } from "./ports/inspection.js";
import { inspectMemory } from "./memory/inspection.js";
import { inspectRedis } from "./redis/inspection.js";
import { LeasedStore } from "../limits/leases/leased-store.js";
import { RedisChannels } from "./redis/channels.js";
import { examineRedis } from "./redis/examine.js";
import { connect } from "./redis/connect.js";
import { openerOf } from "./redis/further.js";
import type { OpenFurther } from "./redis/further.js";
import { RedisIdempotencyStore } from "./redis/idempotency.js";
import { RedisIssuerMarker } from "./redis/issuer-marker.js";
import type { LimitOverrides } from "./ports/limit-overrides.js";
import { RedisLeaseSource } from "./redis/leases.js";
import { RedisEventLog } from "./redis/event-log.js";
import { RedisLockStore } from "./redis/locks.js";
import { RedisLoginStore } from "./redis/logins.js";
import { RedisOneTimeStore } from "./redis/one-time.js";
import { RedisRevocationRecords } from "./redis/revocation-records.js";
import { RedisLimitOverrides } from "./redis/limit-overrides.js";
import { scripts } from "./redis/scripts/all.js";
import { cacheScript } from "./redis/scripts/cache.js";
import { guardRevocations } from "./redis/data-loss.js";
import { RedisDecisionStore } from "./redis/decisions.js";
import { Tracking } from "./redis/tracking.js";
import { RedisSessionStore } from "./redis/sessions.js";
import type { SessionStore } from "./ports/sessions.js";
import { MemoryCacheStore } from "./memory/cache.js";
import type { Connection } from "./redis/connect.js";
import type { Logger } from "../telemetry/logger.js";
import { RedisCacheStore } from "./redis/cache.js";

/** The parts of a gate that are in use: the others need no examination. */
export interface PartsInUse {
  /** Has a cache in Redis been used or configured? */
  readonly caches: boolean;
  /** Has a lock, an idempotency key, a one-time value or a reliable channel been used? */
  readonly coordination: boolean;
  /** Has a one-time value been used? */
  readonly oneTime: boolean;
  /** Has a channel of the application been defined? */
  readonly channels: boolean;
}

/** The stores of a gate. */
export interface Stores extends StoreHealth {
  readonly decisions: DecisionStore;
  /** The same, and leases of this process answer consumptions with `leased`. */
  readonly leasedDecisions: DecisionStore;
  readonly revocations: RevocationStore;
  /** The records of revocation of open connections. */
  readonly revocationRecords: RevocationRecords;
  /** Corrections of the consumptions that `decisions` has counted. */
  readonly corrections: UsageCorrections;
  /** Limit overrides of operators, and top keys. */
  readonly limitOverrides: LimitOverrides;
  readonly cache: CacheStore;
  /** Changes that other processes make to the cache. */
  readonly cacheSignals: CacheSignals;
  /** Messages between the processes of this gate. */
  readonly channels: Channels;
  /** Reads what decisions rest on, to explain them. */
  readonly inspection: StoreInspection;
  readonly sessions: SessionStore;
  readonly logins: LoginStore;
  readonly locks: LockStore;
  readonly oneTime: OneTimeStore;
  /** The logs of reliable channels. */
  readonly eventLog: EventLog;
  /** The records of requests with an Idempotency-Key. */
  readonly idempotency: IdempotencyStore;
  /** Opens further connections to Redis; undefined for stores in process. */
  readonly openFurther: OpenFurther | undefined;
  /** Empty for stores in process. */
  readonly breakers: readonly BreakerControl[];
  /**
   * Finds problems of the server, of its options and of the client. Rejects with a StoreFault if the server does not
   * answer.
   */
  examine(used: PartsInUse): Promise<Finding[]>;
  /** The reason for which there is no connection to the store, such as `WRONGPASS`; undefined without one. */
  cause(): string | undefined;
  /** Calls the listener once, when the first connection is made; never for stores in process. */
  onReady(listener: () => void): void;
  /** Calls `leave` when no more questions are asked; give-backs are still sent after it. */
  close(leave: () => void): Promise<void>;
}

type StoreOptions<Raw> = Pick<
  ResolvedOptions<Raw>,
  "redis" | "deadlineMs" | "connectDeadlineMs" | "logger" | "auth" | "tokens" | "revocation" | "cache"
>;

export interface StoreParts {
  readonly keys: Keyspace;
  /** Finds out whom the shared keys belong to. */
  readonly shared: SharedIssuer;
  readonly telemetry: Telemetry;
  /** Called after the first round trip to the cache in Redis. */
  readonly onFirstCacheUse?: (() => void) | undefined;
}

/** The marker outlives a day without any process, and every record under the shared keys. */
const minMarkerSeconds = 86_400;

/** Opens the stores: in process, or in Redis. */
export function createStores<Raw>(
  { redis, deadlineMs, connectDeadlineMs, logger, auth, tokens, revocation, cache: caching }: StoreOptions<Raw>,
  { keys, shared, telemetry, onFirstCacheUse }: StoreParts,
): Stores {
  const observe = (outcome: MessageOutcome): void => telemetry.messageArrived(outcome);
  const toleranceSeconds = auth?.toleranceSeconds ?? 5;
  const marginSeconds = marginSecondsFor(toleranceSeconds);
  if (redis === undefined) {
    shared.start(undefined);
    const memory = new MemoryDecisionStore();
    const memoryCache = openMemoryCache();
    const memoryChannels = new MemoryChannels({ observe });
    return {
      decisions: memory,
      leasedDecisions: memory,
      revocations: memory,
      revocationRecords: memory,
      state: () => memory.state(),
      corrections: memory.corrections,
      inspection: inspectMemory(memory),
      sessions: new MemorySessionStore({
        revocationStore: memory,
        cutoffAt: (key) => memory.cutoffAt(key),
        marginSeconds,
      }),
      cache: memoryCache.store,
      cacheSignals: memoryCache.signals,
      limitOverrides: new MemoryLimitOverrides(memory.corrections),
      channels: memoryChannels,
      logins: new MemoryLoginStore(),
      locks: new MemoryLockStore({ channels: memoryChannels }),
      oneTime: new MemoryOneTimeStore(),
      eventLog: new MemoryEventLog({ channels: memoryChannels }),
      idempotency: new MemoryIdempotencyStore(),
      openFurther: undefined,
      breakers: [],
      examine: () => Promise.resolve([]),
      cause: () => undefined,
      onReady: () => undefined,
      close(leave) {
        leave();
        return Promise.resolve();
      },
    };
  }
  const connection = connect({ redis: redis.security, deadlineMs, connectDeadlineMs, logger, scripts, telemetry });
  const apart =
    redis.cache === redis.security
      ? undefined
      : connect({ redis: redis.cache, deadlineMs, connectDeadlineMs, logger, scripts: [cacheScript], telemetry });
  const tracking = new Tracking({ connection, logger, observe: (on) => telemetry.listens("security", on) });
  const channels = new RedisChannels({ connection, tracking, keys, deadlineMs, logger, observe });
  const clockToleranceMs = Math.max(1000, toleranceSeconds * 1000);
  const store = new RedisDecisionStore({
    ...{ connection, deadlineMs, clockToleranceMs, telemetry, logger },
    giveBackKey: (tag, process) => keys.giveBacks(tag, process),
  });
  const recordSeconds = recordEnd(auth?.maxLifetimeSeconds ?? 0, marginSeconds);
  shared.start(
    new RedisIssuerMarker({
      connection,
      key: keys.sharedIssuer(),
      deadlineMs,
      lifeMs: Math.max(minMarkerSeconds, recordSeconds) * 1000,
    }),
  );
  const guarded =
    auth === undefined || revocation === undefined
      ? { decisions: store, revocations: store, health: store, doubt: () => undefined, close: () => undefined }
      : guardRevocations({
          ...{ store, connection, tracking, keys, telemetry, logger, ...revocation },
          onLoss: () => shared.renew(),
        });
  const [reads, writes] = store.breakers;
  const source = new RedisLeaseSource(connection, store.giveBacks, () => writes.state === "closed");
  const leased = new LeasedStore({ store: guarded.decisions, source });
  const backplane = apart === undefined ? { tracking, channels } : undefined;
  const common = { keys, deadlineMs, telemetry, logger, observe };
  const cache =
    caching?.redis === false
      ? openMemoryCache()
      : openRedisCache({ connection: apart ?? connection, backplane, onFirstUse: onFirstCacheUse, ...common });
  const longestSeconds = Math.ceil(auth?.maxLifetimeSeconds ?? 0);
  const logins = new RedisLoginStore({ connection, deadlineMs, telemetry, giveBacks: store.giveBacks });
  const locks = new RedisLockStore({ connection, channels, deadlineMs, telemetry });
  const oneTime = new RedisOneTimeStore({ connection, deadlineMs, telemetry });
  const prefixes = keys.revocationPrefixes();
  const revocationRecords = new RedisRevocationRecords({ connection, tracking, prefixes, deadlineMs });
  const eventLog = new RedisEventLog({ connection, channels, deadlineMs, telemetry });
  const idempotency = new RedisIdempotencyStore({ connection, channels, deadlineMs, telemetry });
  return {
    decisions: guarded.decisions,
    leasedDecisions: leased,
    revocations: guarded.revocations,
    revocationRecords,
    state: () =>
      withBreakers(withIssuer(guarded.health.state(), shared), {
        locks,
        "one-time values": oneTime,
        "reliable channels": eventLog,
      }),
    corrections: store.corrections,
    inspection: inspectRedis({
      ...{ connection, deadlineMs, records: revocationRecords },
      isOpen: () => ({ reads: reads.state === "open", writes: writes.state === "open" }),
      doubt: () => (store.state().clockDiffers === true ? new StoreFault("skewed") : guarded.doubt()),
    }),
    cache: cache.store,
    cacheSignals: cache.signals,
    limitOverrides: new RedisLimitOverrides({ connection, deadlineMs, rulesKey: keys.limitOverrides() }),
    channels,
    sessions: new RedisSessionStore({ connection, deadlineMs, marginSeconds, longestSeconds }),
    logins,
    locks,
    oneTime,
    eventLog,
    idempotency,
    openFurther: openerOf({ redis: redis.security, deadlineMs, logger }),
    breakers: [
      ...store.breakers,
      ...logins.breakers,
      ...locks.breakers,
      ...oneTime.breakers,
      ...idempotency.breakers,
      ...eventLog.breakers,
      ...cache.breakers,
    ],
    examine: (used) =>
      examineRedis({
        connection,
        keys,
        caches: apart === undefined,
        cache: used.caches && caching?.redis !== false ? (apart ?? connection) : undefined,
        keepsSessions: tokens !== undefined,
        coordinates: used.coordination,
        oneTime: used.oneTime,
        channels: used.channels,
        refusesToTell: tracking.isRefused,
        listenerFailure: tracking.failure,
        clockToleranceMs,
      }),
    cause: () => connection.cause?.()?.reason,
    onReady(listener) {
      if (connection.hasConnected()) return listener();
      const stop = connection.onConnect(() => {
        stop();
        listener();
      });
    },
    async close(leave) {
      shared.close();
      cache.close();
      tracking.close();
      const ended = leased.end();
      guarded.close();
      store.close();
      locks.close();
      eventLog.close();
      await ended;
      leave();
      await store.giveBacks.close();
      await Promise.all([connection.close(), apart?.close()]);
    },
  };
}

/** The store of the cache, with the signals about it. */
interface CachePart {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly breakers: readonly BreakerControl[];
  close(): void;
}

/** A cache in this process: no other process changes it. */
function openMemoryCache(): CachePart {
  const channels = new MemoryChannels();
  const store = new MemoryCacheStore({ channels });
  const signals: CacheSignals = { channels, track: () => undefined, isAlive: () => true };
  return { store, signals, breakers: [], close: () => store.close() };
}

interface RedisCacheOptions {
  readonly connection: Connection;
  /** The listening connection that exists already if the cache shares the Redis; undefined if it has its own. */
  readonly backplane: { readonly tracking: Tracking; readonly channels: RedisChannels } | undefined;
  readonly keys: Keyspace;
  readonly deadlineMs: number;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly observe: (outcome: MessageOutcome) => void;
  /** Called after the first round trip to the cache. */
  readonly onFirstUse: (() => void) | undefined;
}

function openRedisCache(options: RedisCacheOptions): CachePart {
  const { connection, backplane, keys, deadlineMs, telemetry, logger, observe, onFirstUse } = options;
  const tracking =
    backplane?.tracking ?? new Tracking({ connection, logger, observe: (on) => telemetry.listens("cache", on) });
  const channels =
    backplane?.channels ?? new RedisChannels({ connection, tracking, keys, deadlineMs, logger, observe });
  const store = new RedisCacheStore({ connection, channels, deadlineMs, telemetry, onFirstUse });
  const signals: CacheSignals = {
    channels,
    track: (tracked) => tracking.track(tracked),
    isAlive: (ms) => tracking.isAlive(ms),
  };
  return {
    store,
    signals,
    breakers: store.breakers,
    close() {
      store.close();
      if (backplane === undefined) tracking.close();
    },
  };
}

/** The state of the store, which is down while it does not say whom the shared keys belong to. */
function withIssuer(state: StoreState, { refusesTokens }: SharedIssuer): StoreState {
  if (!refusesTokens || state.status === "down") return state;
  return { ...state, status: "down", findings: ["calls fail", ...state.findings] };
}

/** The state of the store, which is degraded at best while calls of other parts fail. */
function withBreakers(
  state: StoreState,
  parts: Readonly<Record<string, { readonly breakers: readonly BreakerControl[] }>>,
): StoreState {
  const failing = Object.entries(parts).filter(([, { breakers }]) => breakers.some((one) => one.state !== "closed"));
  if (failing.length === 0) return state;
  const findings = [...state.findings, ...failing.map(([part]) => `${part} fail`)];
  return { ...state, status: state.status === "up" ? "degraded" : state.status, findings };
}
