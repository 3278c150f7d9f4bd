import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { BreakerControl } from "../lib/breaker.js";
import type { CacheSignals, CacheStore } from "./ports/cache.js";
import type { MessageOutcome } from "./ports/channels.js";
import type { Keyspace } from "./keyspace.js";
import { MemoryCacheStore } from "./memory/cache.js";
import { MemoryChannels } from "./memory/channels.js";
import { RedisCacheStore } from "./redis/cache.js";
import { RedisChannels } from "./redis/channels.js";
import type { Connection } from "./redis/connect.js";
import { Tracking } from "./redis/tracking.js";

/** The store of the cache, with the signals about it. */
export interface CachePart {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly breakers: readonly BreakerControl[];
  close(): void;
}

/** A cache in this process: no other process changes it. */
export function openMemoryCache(): CachePart {
  const channels = new MemoryChannels();
  const store = new MemoryCacheStore({ channels });
  const signals: CacheSignals = { channels, track: () => undefined, isAlive: () => true };
  return { store, signals, breakers: [], close: () => store.close() };
}

export interface RedisCacheOptions {
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

export function openRedisCache(options: RedisCacheOptions): CachePart {
  const { connection, backplane, keys, deadlineMs, telemetry, logger, observe, onFirstUse } = options;
  const tracking = backplane?.tracking ?? new Tracking({ connection, logger });
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
