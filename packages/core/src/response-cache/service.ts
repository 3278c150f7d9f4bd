import type { Check } from "../http/check.js";
import type { ResolvedResponseCache } from "./options.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheStore, StoreFault } from "../store/ports/decisions.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { openRenewals } from "../cache/generations.js";
import type { Invalidations } from "../cache/invalidations.js";
import type { IdentitySources } from "./credentials.js";
import { createResponseCache } from "./response-cache.js";
import { ResponseStore } from "./response-store.js";
import type { Responses } from "./purge.js";
import { openResponses } from "./purge.js";

export interface ResponseCachesOptions<Raw> {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Of the cache of values, whose tags are those of responses; undefined where there is none. */
  readonly renewals: Invalidations | undefined;
  /** What the gate tells clients apart by. */
  readonly identity: IdentitySources<Raw>;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The response caches of a gate: what they keep is one store. */
export interface ResponseCaches<Raw> {
  create(options: ResolvedResponseCache<Raw>): Check<Raw>;
  readonly responses: Responses;
  /** Resolves when the store may be closed. */
  close(): Promise<void>;
}

export function openResponseCaches<Raw>({
  store,
  keys,
  telemetry,
  logger,
  renewals = openRenewals({ store, telemetry, logger }),
  identity,
  now,
}: ResponseCachesOptions<Raw>): ResponseCaches<Raw> {
  const note = ({ kind }: StoreFault): void => telemetry.degraded("cache", "allow", kind, "allowed");
  const responseStore = new ResponseStore({ store, keys, onFault: note, renewals });
  const services = {
    store: responseStore,
    identity,
    now,
    storeNow: () => store.now(),
    count: telemetry.responseFound.bind(telemetry),
  };
  return {
    create: (options) => createResponseCache(options, services),
    responses: openResponses(responseStore),
    close: () => renewals.close(),
  };
}
