import type { Check } from "../../http/verdict.js";
import type { ResolvedResponseCache } from "../../options/response-cache.js";
import type { Keyspace } from "../../store/keys.js";
import type { CacheStore } from "../../store/ports.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { createResponseCache } from "./response-cache.js";
import { ResponseStore } from "./response-store.js";
import type { Responses } from "./responses.js";
import { openResponses } from "./responses.js";

export interface ResponseCachesOptions {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The response caches of a gate: what they keep is one store. */
export interface ResponseCaches<Raw> {
  create(options: ResolvedResponseCache<Raw>): Check<Raw>;
  readonly responses: Responses;
}

export function openResponseCaches<Raw>({ store, keys, telemetry, now }: ResponseCachesOptions): ResponseCaches<Raw> {
  const responseStore = new ResponseStore(store, keys, ({ kind }) =>
    telemetry.degraded("cache", "allow", kind, "allowed"),
  );
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
