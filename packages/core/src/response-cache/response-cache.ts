import { openRenewals } from "../cache/generations.js";
import type { Invalidations } from "../cache/invalidations.js";
import type { Check } from "../http/check.js";
import type { Exchange } from "../http/exchange.js";
import type { Allowed, Reply, Verdict } from "../http/verdict.js";
import { allowed } from "../http/verdict.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheStore, StoreFault } from "../store/ports/decisions.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { ageOf, answerFromStored, cacheStatusFields, gatewayTimeout, preconditionFailed } from "./answers.js";
import type { Forward, Handling } from "./cache-status.js";
import type { Leader } from "./collapsing.js";
import { RequestCollapser } from "./collapsing.js";
import type { IdentitySources } from "./credentials.js";
import type { ClockReading } from "./freshness.js";
import { decideReuse, mayServeOnError } from "./freshness.js";
import type { Responses } from "./invalidation.js";
import { invalidateAfter, openResponses } from "./invalidation.js";
import type { ResolvedResponseCache } from "./options.js";
import { answerConditions, recordResponse } from "./recorder.js";
import type { CacheableRequest, CachePass } from "./request.js";
import { enterCache, isUnsafe, readRequest, withReceivedFields } from "./request.js";
import type { LookupResult, MakingStart } from "./response-store.js";
import { ResponseStore } from "./response-store.js";
import type { StoredResponse } from "./stored-response.js";
import { mayServe } from "./storing.js";

/** What became of a request at the cache. */
export type ResponseOutcome = "hit" | "stale" | "collapsed" | "miss" | "bypass";

export interface ResponseCacheServices<Raw> {
  readonly store: ResponseStore;
  /** What the gate tells clients apart by. */
  readonly identity: IdentitySources<Raw>;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Milliseconds by the clock of the store, which all processes share. */
  readonly storeNow: () => number;
  readonly count: (outcome: ResponseOutcome) => void;
}

/** What a request found at the cache, and why it must go on. */
interface Miss {
  readonly request: CacheableRequest;
  readonly found: LookupResult;
  /** A stale response, in case the handler fails. */
  readonly stored: StoredResponse | undefined;
  readonly why: Forward;
}

/** A response for all who wait, and the key for which it was made. */
interface Shared {
  readonly response: StoredResponse;
  readonly variant: string;
  readonly start: MakingStart;
}

/** The shared cache of an origin server (RFC 9111), in front of its handlers: the whole way of a request. */
export function createResponseCache<Raw>(
  options: ResolvedResponseCache<Raw>,
  { store, identity, now, storeNow, count }: ResponseCacheServices<Raw>,
): Check<Raw> {
  const { cacheStatus: name } = options;
  const collapser = new RequestCollapser<Shared>({ waitMs: options.waitMs });
  const defaults = {
    lifetime: options.ttlSeconds,
    staleWhileRevalidate: options.staleWhileRevalidateSeconds,
    staleIfError: options.staleIfErrorSeconds,
  };

  const readClocks = (): ClockReading => ({ processMs: now(), storeMs: storeNow() });

  return function cacheResponse(exchange): Verdict | Promise<Verdict> {
    const { settled } = exchange.facts;
    if (!isUnsafe(exchange.method)) {
      // The same one twice.
      if (settled.has(cacheResponse)) return allowed;
      settled.add(cacheResponse);
      return answer(exchange, enterCache(settled));
    }
    if (settled.has(store)) return allowed;
    settled.add(store);
    exchange.intercept(invalidateAfter(exchange, (tag) => void store.purge(tag).catch(store.report)));
    return allowed;
  };

  async function answer(exchange: Exchange<Raw>, pass: CachePass): Promise<Verdict> {
    const request = await readRequest(exchange, options, identity, pass);
    if (typeof request !== "string") return lookUp(exchange, request);
    count("bypass");
    return { allowed: true, headers: cacheStatusFields(name, { forwarded: request }) };
  }

  async function lookUp(exchange: Exchange<Raw>, request: CacheableRequest, again = false): Promise<Verdict> {
    const sequence = collapser.sequence;
    const found = await store.find(request);
    const stored = found.response !== undefined && mayServeFrom(request, found.response) ? found.response : undefined;
    const reuse =
      stored === undefined ? "forward" : decideReuse(stored, ageOf(stored, readClocks()), request.directives);
    const key = request.variant(found.vary);
    if (
      stored !== undefined &&
      (reuse === "fresh" || reuse === "stale" || (reuse === "revalidate" && collapser.isActive(key)))
    ) {
      count(reuse === "fresh" ? "hit" : "stale");
      return send(exchange, request, stored, {});
    }
    if (request.directives.has("only-if-cached")) return gatewayTimeout(name);
    const isFresh = stored !== undefined && ageOf(stored, readClocks()) < stored.lifetime;
    const why = stored === undefined ? (found.hasVariants ? "vary-miss" : "uri-miss") : isFresh ? "request" : "stale";
    const miss = { request, found, stored, why } as const;
    // The store was asked before another request had what it got stored.
    if (!again && !request.wantsOwnResponse && found.storeAnswered && collapser.hasSharedSince(key, sequence))
      return lookUp(exchange, request, true);
    return request.wantsOwnResponse ? forward(exchange, miss) : collapse(exchange, miss, key);
  }

  /** Waits for another request for the same, if there is one; else the others wait for this one. */
  async function collapse(exchange: Exchange<Raw>, miss: Miss, key: string): Promise<Verdict> {
    const { request, found, why } = miss;
    const { deadline } = collapser;
    for (;;) {
      const leader = collapser.start(key);
      if (leader !== undefined) return forward(exchange, miss, leader);
      const outcome = await collapser.join(key, deadline);
      // Its own client may have gone meanwhile. All who leave together must not run the handler once each, for nobody.
      if (outcome.kind !== "shared" && exchange.signal.aborted) return gatewayTimeout(name);
      if (outcome.kind === "abandoned") continue;
      if (outcome.kind !== "shared" || !maySatisfy(request, found, outcome.value)) return forward(exchange, miss);
      count("collapsed");
      return send(exchange, request, outcome.value.response, { forwarded: why, collapsed: true });
    }
  }

  /** Is what another request got an answer to this one, although it was asked for earlier? */
  function maySatisfy(request: CacheableRequest, found: LookupResult, { response, variant, start }: Shared): boolean {
    return (
      request.variant(response.vary) === variant &&
      mayServeFrom(request, response) &&
      store.isCurrentFor(response, start, found) &&
      decideReuse(response, ageOf(response, readClocks()), request.directives) !== "forward"
    );
  }

  function forward(exchange: Exchange<Raw>, miss: Miss, leader?: Leader<Shared>): Allowed {
    const { found, stored, why } = miss;
    const request = withReceivedFields(exchange, miss.request);
    count("miss");
    // Not at once: what has no socket says that its response is over while that is being ended.
    if (leader !== undefined) exchange.onClose(() => queueMicrotask(() => leader.abandon()));

    function share(response: StoredResponse): void {
      leader?.share({ response, variant: request.variant(response.vary), start: found });
    }

    const recorder = recordResponse({
      request,
      forwarded: why,
      generations: found.generations,
      storeAnswered: found.storeAnswered,
      shared: options.per === "everyone",
      defaults,
      mostBytes: options.maxSize,
      etag: options.etag,
      name,
      now,
      storeNow,
      preconditionFailed: (status) => preconditionFailed(name, { forwarded: why, forwardStatus: status }),
      staleOnError(status) {
        if (stored === undefined || !mayServeOnError(stored, ageOf(stored, readClocks()))) return undefined;
        if (store.isPurged(found)) return undefined;
        share(stored);
        return answerFrom(exchange, request, stored, { forwarded: why, forwardStatus: status });
      },
      headSent: () => leader?.headSent(),
      bodySkipped: () => leader?.release(),
      onOutcome(response, seconds) {
        if (response === undefined) return leader?.keepForItself();
        share(response);
        if (found.storeAnswered) void store.keep(request, response, seconds, found);
      },
    });
    request.pass.withdraw = () => recorder.withdraw();
    exchange.intercept(recorder);
    return allowed;
  }

  /** A user's own responses meet nobody else by their key. */
  function mayServeFrom(request: CacheableRequest, response: StoredResponse): boolean {
    return options.per === "user" || mayServe(request, response);
  }

  /** Answers from the store, instead of the handler. */
  function send(exchange: Exchange<Raw>, request: CacheableRequest, stored: StoredResponse, handling: Handling): Reply {
    if (exchange.holdsResponse === true) {
      const unmet = (): Reply => preconditionFailed(name, handling);
      exchange.intercept(answerConditions({ request, etag: options.etag, preconditionFailed: unmet, now }));
    }
    return answerFrom(exchange, request, stored, handling);
  }

  function answerFrom(
    { holdsResponse }: Exchange<Raw>,
    { preconditions }: CacheableRequest,
    stored: StoredResponse,
    handling: Handling,
  ): Reply {
    return answerFromStored(stored, holdsResponse === true ? undefined : preconditions, {
      now: readClocks(),
      name,
      handling,
    });
  }
}

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
