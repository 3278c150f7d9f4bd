import type { Allowed, Reply, Verdict } from "../http/verdict.js";
import type { Check, GateExchange } from "../request/state.js";
import { allowed } from "../http/verdict.js";
import type { ResolvedResponseCache } from "./options.js";
import type { Forward, Handling } from "./cache-status.js";
import type { IdentitySources } from "./credentials.js";
import type { StoredResponse } from "./entry.js";
import type { Flight } from "./flights.js";
import { Flights } from "./flights.js";
import type { Moment } from "./freshness.js";
import { invalidateAfter } from "./invalidation.js";
import { judgeResponse, recordResponse } from "./recorder.js";
import { ageOf, preconditionFailed, replay, statusFields, unsatisfiable } from "./replay.js";
import type { CacheableRequest } from "./request.js";
import { asItCame, isUnsafe, readRequest } from "./request.js";
import type { Found, ResponseStore, Start } from "./response-store.js";
import { decideReuse, standsInForError } from "./reuse.js";
import type { Turn } from "./turns.js";
import { takeOver } from "./turns.js";
import { mayMeet } from "./storable.js";

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
  readonly found: Found;
  /** A stale response, in case the handler fails. */
  readonly stored: StoredResponse | undefined;
  readonly why: Forward;
}

/** A response for all who wait, and the key for which it was made. */
interface Shared {
  readonly response: StoredResponse;
  readonly variant: string;
  readonly start: Start;
}

/** The shared cache of an origin server (RFC 9111), in front of its handlers: the whole way of a request. */
export function createResponseCache<Raw>(
  options: ResolvedResponseCache<Raw>,
  { store, identity, now, storeNow, count }: ResponseCacheServices<Raw>,
): Check<Raw> {
  const { cacheStatus: name } = options;
  const flights = new Flights<Shared>({ waitMs: options.waitMs });
  const defaults = {
    lifetime: options.ttlSeconds,
    staleWhileRevalidate: options.staleWhileRevalidateSeconds,
    staleIfError: options.staleIfErrorSeconds,
  };

  const moment = (): Moment => ({ processMs: now(), storeMs: storeNow() });

  return function cacheResponse(exchange): Verdict | Promise<Verdict> {
    const { state } = exchange;
    if (!isUnsafe(exchange.method)) {
      // The same one twice.
      if (state.isDone(cacheResponse)) return allowed;
      state.markDone(cacheResponse);
      return answer(exchange, takeOver(state.first));
    }
    if (state.isDone(store)) return allowed;
    state.markDone(store);
    exchange.intercept(invalidateAfter(exchange, (tag) => void store.purge(tag).catch(store.report)));
    return allowed;
  };

  async function answer(exchange: GateExchange<Raw>, turn: Turn): Promise<Verdict> {
    const request = await readRequest(exchange, options, identity, turn);
    if (typeof request !== "string") return lookUp(exchange, request);
    count("bypass");
    return { allowed: true, headers: statusFields(name, { forwarded: request }) };
  }

  async function lookUp(exchange: GateExchange<Raw>, request: CacheableRequest, again = false): Promise<Verdict> {
    const begun = flights.moment;
    const found = await store.find(request);
    const stored = found.response !== undefined && meets(request, found.response) ? found.response : undefined;
    const reuse = stored === undefined ? "forward" : decideReuse(stored, ageOf(stored, moment()), request.directives);
    const key = request.variant(found.vary);
    if (
      stored !== undefined &&
      (reuse === "fresh" || reuse === "stale" || (reuse === "revalidate" && flights.isUnderWay(key)))
    ) {
      count(reuse === "fresh" ? "hit" : "stale");
      return send(exchange, request, stored, {});
    }
    if (request.directives.has("only-if-cached")) return unsatisfiable(name);
    const isFresh = stored !== undefined && ageOf(stored, moment()) < stored.lifetime;
    const why = stored === undefined ? (found.others ? "vary-miss" : "uri-miss") : isFresh ? "request" : "stale";
    const miss = { request, found, stored, why } as const;
    // The store was asked before another request had what it got stored.
    if (!again && !request.insists && found.answered && flights.hasLandedSince(key, begun))
      return lookUp(exchange, request, true);
    return request.insists ? forward(exchange, miss) : collapse(exchange, miss, key);
  }

  /** Waits for another request for the same, if there is one; else the others wait for this one. */
  async function collapse(exchange: GateExchange<Raw>, miss: Miss, key: string): Promise<Verdict> {
    const { request, found, why } = miss;
    const { patience } = flights;
    for (;;) {
      const flight = flights.start(key);
      if (flight !== undefined) return forward(exchange, miss, flight);
      const outcome = await flights.join(key, patience);
      // Its own client may have gone meanwhile. All who leave together must not run the handler once each, for nobody.
      if (outcome.kind !== "shared" && exchange.signal.aborted) return unsatisfiable(name);
      if (outcome.kind === "abandoned") continue;
      if (outcome.kind !== "shared" || !fits(request, found, outcome.value)) return forward(exchange, miss);
      count("collapsed");
      return send(exchange, request, outcome.value.response, { forwarded: why, collapsed: true });
    }
  }

  /** Is what another request got an answer to this one, although it was asked for earlier? */
  function fits(request: CacheableRequest, found: Found, { response, variant, start }: Shared): boolean {
    return (
      request.variant(response.vary) === variant &&
      meets(request, response) &&
      store.isInForceFor(response, start, found) &&
      decideReuse(response, ageOf(response, moment()), request.directives) !== "forward"
    );
  }

  function forward(exchange: GateExchange<Raw>, miss: Miss, flight?: Flight<Shared>): Allowed {
    const { found, stored, why } = miss;
    const request = asItCame(exchange, miss.request);
    count("miss");
    // Not at once: what has no socket says that its response is over while that is being ended.
    if (flight !== undefined) exchange.onClose(() => queueMicrotask(() => flight.abandon()));

    function share(response: StoredResponse): void {
      flight?.share({ response, variant: request.variant(response.vary), start: found });
    }

    const recorder = recordResponse({
      request,
      forwarded: why,
      generations: found.generations,
      storing: found.answered,
      shared: options.per === "everyone",
      defaults,
      mostBytes: options.maxSize,
      etag: options.etag,
      name,
      now,
      storeNow,
      unmet: (status) => preconditionFailed(name, { forwarded: why, forwardStatus: status }),
      standIn(status) {
        if (stored === undefined || !standsInForError(stored, ageOf(stored, moment()))) return undefined;
        if (store.isPurged(found)) return undefined;
        share(stored);
        return tell(exchange, request, stored, { forwarded: why, forwardStatus: status });
      },
      headSent: () => flight?.headSent(),
      bodySpared: () => flight?.letGo(),
      settle(response, seconds) {
        if (response === undefined) return flight?.keep();
        share(response);
        if (found.answered) void store.keep(request, response, seconds, found);
      },
    });
    request.turn.withdraw = () => recorder.withdraw();
    exchange.intercept(recorder);
    return allowed;
  }

  /** A user's own responses meet nobody else by their key. */
  function meets(request: CacheableRequest, response: StoredResponse): boolean {
    return options.per === "user" || mayMeet(request, response);
  }

  /** Answers from the store, instead of the handler. */
  function send(
    exchange: GateExchange<Raw>,
    request: CacheableRequest,
    stored: StoredResponse,
    handling: Handling,
  ): Reply {
    if (exchange.holdsResponse === true) {
      const unmet = (): Reply => preconditionFailed(name, handling);
      exchange.intercept(judgeResponse({ request, etag: options.etag, unmet, now }));
    }
    return tell(exchange, request, stored, handling);
  }

  function tell(
    { holdsResponse }: GateExchange<Raw>,
    { preconditions }: CacheableRequest,
    stored: StoredResponse,
    handling: Handling,
  ): Reply {
    return replay(stored, holdsResponse === true ? undefined : preconditions, { now: moment(), name, handling });
  }
}
