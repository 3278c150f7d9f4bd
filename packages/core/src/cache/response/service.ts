import type { Check } from "../../http/verdict.js";
import type { ResolvedResponseCache } from "../../options/response-cache.js";
import type { Keyspace } from "../../store/keys.js";
import type { CacheStore, StoreFault } from "../../store/ports.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { createResponseCache } from "./response-cache.js";
import { ResponseStore } from "./response-store.js";
import type { Responses } from "./responses.js";
import { openResponses } from "./responses.js";

export interface ResponseCachesOptions {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  /** As in {@link ResponseStoreOptions}. */
  readonly endTag: ((name: string) => Promise<void>) | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The response caches of a gate: what they keep is one store. */
export interface ResponseCaches<Raw> {
  create(options: ResolvedResponseCache<Raw>): Check<Raw>;
  readonly responses: Responses;
}

export function openResponseCaches<Raw>({
  store,
  keys,
  telemetry,
  endTag,
  now,
}: ResponseCachesOptions): ResponseCaches<Raw> {
  const note = ({ kind }: StoreFault): void => telemetry.degraded("cache", "allow", kind, "allowed");
  const responseStore = new ResponseStore({ store, keys, note, endTag });
  const services = {
    store: responseStore,
    now,
    count: telemetry.responseFound.bind(telemetry),
  };
  return {
    create: (options) => createResponseCache(options, services),
    responses: openResponses(responseStore),
  };
}
