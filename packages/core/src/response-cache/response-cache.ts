import { openRenewals } from "../cache/generations.js";
import type { Invalidations } from "../cache/invalidations.js";
import type { Allowed, Reply, Verdict } from "../http/verdict.js";
import type { Check, GateExchange } from "../request/state.js";
import { allowed } from "../http/verdict.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheSignals } from "../store/ports/cache.js";
import type { CacheStore } from "../store/ports/decisions.js";
import type { StoreFault } from "../store/ports/fault.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { ageOf, answerFromStored, cacheStatusFields, gatewayTimeout, preconditionFailed } from "./answers.js";
import type { Forward, Handling } from "./cache-status.js";
import type { Leader } from "./collapsing.js";
import { RequestCollapser } from "./collapsing.js";
import type { IdentitySources } from "./credentials.js";
import type { ClockReading } from "./freshness.js";
import { decideReuse, mayServeOnError } from "./freshness.js";
import type { LocalResponse, LocalResponsesOptions } from "./local-responses.js";
import { answerOf, directAnswerOf, directReply, entityTagOfSent, mayBeSentDirectly } from "./local-responses.js";
import type { Responses } from "./invalidation.js";
import { invalidateAfter, openResponses } from "./invalidation.js";
import type { ResolvedResponseCache } from "./options.js";
import { answerConditions, recordResponse } from "./recorder.js";
import type { CacheableRequest, CachePass } from "./request.js";
import { enterCache, isUnsafe, leaveCache, readRequest } from "./request.js";
import type { LookupResult, HandlerStart } from "./response-store.js";
import { ResponseStore } from "./response-store.js";
import type { StoredResponse } from "./stored-response.js";
import { mayServe } from "./storing.js";
import { queueMicrotask } from "../lib/real-timers.js";

/** How the cache handled a request, for metrics. */
export type ResponseOutcome = "hit" | "stale" | "collapsed" | "miss" | "bypass";

export interface ResponseCacheServices<Raw> {
  readonly store: ResponseStore;
  /** The places where the gate finds the identity of a client. */
  readonly identity: IdentitySources<Raw>;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Milliseconds by the clock of the store, which all processes share. */
  readonly storeNow: () => number;
  readonly count: (outcome: ResponseOutcome) => void;
}

/** A request that must go on to the handler, with the reason and the result of its lookup. */
interface Miss {
  readonly request: CacheableRequest;
  readonly found: LookupResult;
  /** A stored response, which may be used if the handler fails. */
  readonly stored: StoredResponse | undefined;
  readonly why: Forward;
}

/** A response for all requests that wait, with its key and the state before it was made. */
interface Shared {
  readonly response: StoredResponse;
  readonly variant: string;
  readonly start: HandlerStart;
}

/** The cache of responses in front of the handlers of an origin server (RFC 9111): the whole way of a request. */
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
    const { state } = exchange;
    if (!isUnsafe(exchange.method)) {
      // The same cache is mounted twice.
      if (state.isDone(cacheResponse)) return allowed;
      state.markDone(cacheResponse);
      const pass = enterCache(state.first);
      const request = readRequest(exchange, options, identity, pass);
      if (request instanceof Promise) return request.then((read) => answer(exchange, read, pass));
      return answer(exchange, request, pass);
    }
    if (state.isDone(store)) return allowed;
    state.markDone(store);
    exchange.intercept(invalidateAfter(exchange, (tag) => void store.purge(tag).catch(store.report)));
    return allowed;
  };

  function answer(
    exchange: GateExchange<Raw>,
    request: CacheableRequest | Forward,
    pass: CachePass,
  ): Verdict | Promise<Verdict> {
    if (typeof request !== "string") return answerLocally(exchange, request) ?? lookUp(exchange, request);
    leaveCache(exchange.state.first, pass);
    count("bypass");
    return { allowed: true, headers: cacheStatusFields(name, { forwarded: request }) };
  }

  /** Answers with a fresh response in process. It costs less than a handler: keep it free of promises and closures. */
  function answerLocally(exchange: GateExchange<Raw>, request: CacheableRequest): Reply | undefined {
    if (!options.local) return undefined;
    const kept = store.findLocally(request);
    if (kept === undefined || !hasNames(request, kept) || !mayServeFrom(request, kept.response)) return undefined;
    const age = ageOf(kept.response, readClocks());
    if (decideReuse(kept.response, age, request.directives) !== "fresh") return undefined;
    count("hit");
    return sendLocal(exchange, request, kept, age);
  }

  async function lookUp(exchange: GateExchange<Raw>, request: CacheableRequest, again = false): Promise<Verdict> {
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
      if (reuse === "fresh" && options.local) store.keepLocally(request, stored, found);
      return send(exchange, request, stored, {});
    }
    if (request.directives.has("only-if-cached")) return gatewayTimeout(name);
    const isFresh = stored !== undefined && ageOf(stored, readClocks()) < stored.lifetime;
    const why = stored === undefined ? (found.hasVariants ? "vary-miss" : "uri-miss") : isFresh ? "request" : "stale";
    const miss = { request, found, stored, why } as const;
    // Another request has stored its response since this one asked the store.
    if (!again && !request.wantsOwnResponse && found.storeAnswered && collapser.hasSharedSince(key, sequence))
      return lookUp(exchange, request, true);
    return request.wantsOwnResponse ? forward(exchange, miss) : collapse(exchange, miss, key);
  }

  /** Waits for the leader, if there is one; otherwise this request becomes the leader. */
  async function collapse(exchange: GateExchange<Raw>, miss: Miss, key: string): Promise<Verdict> {
    const { request, found, why } = miss;
    const { deadline } = collapser;
    for (;;) {
      const leader = collapser.start(key);
      if (leader !== undefined) return forward(exchange, miss, leader);
      const outcome = await collapser.join(key, deadline);
      // The client may have gone meanwhile: clients that leave together must not cause one handler call each.
      if (outcome.kind !== "shared" && exchange.signal.aborted) return gatewayTimeout(name);
      if (outcome.kind === "abandoned") continue;
      if (outcome.kind !== "shared" || !maySatisfy(request, found, outcome.value)) return forward(exchange, miss);
      count("collapsed");
      return send(exchange, request, outcome.value.response, { forwarded: why, collapsed: true });
    }
  }

  /** True if the response to another request, which may have come earlier, may answer this one. */
  function maySatisfy(request: CacheableRequest, found: LookupResult, { response, variant, start }: Shared): boolean {
    return (
      request.variant(response.vary) === variant &&
      mayServeFrom(request, response) &&
      store.isCurrentFor(response, start, found) &&
      decideReuse(response, ageOf(response, readClocks()), request.directives) !== "forward"
    );
  }

  function forward(exchange: GateExchange<Raw>, miss: Miss, leader?: Leader<Shared>): Allowed {
    const { request, found, stored, why } = miss;
    request.beginHandling();
    leaveCache(exchange.state.first, request.pass);
    count("miss");
    // In a microtask: a response without a socket reports its end while it is being ended.
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
      maxBytes: options.maxSize,
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

  /** With one response for each user, the key keeps users apart. */
  function mayServeFrom(request: CacheableRequest, response: StoredResponse): boolean {
    return options.per === "user" || mayServe(request, response);
  }

  /** Answers with a stored response instead of the handler. */
  function send(
    exchange: GateExchange<Raw>,
    request: CacheableRequest,
    stored: StoredResponse,
    handling: Handling,
  ): Reply {
    if (exchange.holdsResponse === true) {
      if (maySendDirectly(exchange, request, stored))
        return directReply(stored, { name, age: ageOf(stored, readClocks()), handling, etag: options.etag });
      followHeld(exchange, request, handling, undefined);
    }
    return answerFrom(exchange, request, stored, handling);
  }

  function sendLocal(exchange: GateExchange<Raw>, request: CacheableRequest, kept: LocalResponse, age: number): Reply {
    if (exchange.holdsResponse === true) {
      if (maySendDirectly(exchange, request, kept.response)) return directAnswerOf(kept, name, age, options.etag);
      followHeld(exchange, request, {}, kept);
    } else if (request.hasPreconditions) return answerFrom(exchange, request, kept.response, {});
    return answerOf(kept, name, age);
  }

  /** Middleware in front may change a response that the framework holds: only what is sent has a tag and meets conditions. */
  function followHeld(
    exchange: GateExchange<Raw>,
    request: CacheableRequest,
    handling: Handling,
    kept: LocalResponse | undefined,
  ): void {
    const { etag } = options;
    if (!request.hasPreconditions && exchange.tagBeforeEnd !== undefined) {
      if (etag !== false) exchange.tagBeforeEnd((body) => entityTagOfSent(body, etag, kept));
      return;
    }
    const unmet = (): Reply => preconditionFailed(name, handling);
    exchange.intercept(answerConditions({ request, etag, preconditionFailed: unmet, now }));
  }

  function answerFrom(
    { holdsResponse }: GateExchange<Raw>,
    { preconditions }: CacheableRequest,
    stored: StoredResponse,
    handling: Handling,
  ): Reply {
    const clocks = readClocks();
    return answerFromStored(stored, holdsResponse === true ? undefined : preconditions, {
      ...{ age: ageOf(stored, clocks), nowMs: clocks.processMs },
      ...{ name, handling },
    });
  }
}

/** True if a framework that holds the response need not see it. */
function maySendDirectly(exchange: GateExchange, request: CacheableRequest, response: StoredResponse): boolean {
  return !request.hasPreconditions && exchange.isOutermost === true && mayBeSentDirectly(response);
}

/** True if the tags of a response are tags of the request, too: otherwise it may have been purged. */
function hasNames({ names: own }: CacheableRequest, { names }: LocalResponse): boolean {
  for (const name of names) if (!own.includes(name)) return false;
  return true;
}

export interface ResponseCachesOptions<Raw> {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** The renewals of `req.cache`, which shares its tags with responses; undefined without one. */
  readonly renewals: Invalidations | undefined;
  /** The places where the gate finds the identity of a client. */
  readonly identity: IdentitySources<Raw>;
  /** The bounds of the tier in process; undefined for none. */
  readonly local: Pick<LocalResponsesOptions, "entries" | "bytes" | "ttlMs"> | undefined;
  readonly signals: Pick<CacheSignals, "channels">;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The response caches of a gate, which share one store. */
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
  local,
  signals: { channels },
  now,
}: ResponseCachesOptions<Raw>): ResponseCaches<Raw> {
  const note = ({ kind }: StoreFault): void => telemetry.degraded("cache", "allow", kind, "allowed");
  const tier = local === undefined ? undefined : { ...local, channels };
  const responseStore = new ResponseStore({ store, keys, onFault: note, renewals, local: tier });
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
    close() {
      responseStore.local?.close();
      return renewals.close();
    },
  };
}
