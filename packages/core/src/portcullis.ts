import type { Auth } from "./auth/claims.js";
import type { VerifiedToken } from "./auth/verifier.js";
import { Verifier } from "./auth/verifier.js";
import { RequestCacheFactory } from "./cache/request-cache.js";
import type { AdmissionParts, AdmissionServices } from "./guard/admission.js";
import { createAdmission } from "./guard/admission.js";
import { createChallenges } from "./guard/challenges.js";
import { every, exceptWhere, throwing } from "./guard/compose.js";
import { Degradation } from "./guard/degradation.js";
import { requireScopes } from "./guard/scopes.js";
import type { RouteCondition } from "./http/path.js";
import { compileCondition } from "./http/path.js";
import type { Check, Verdict } from "./http/verdict.js";
import type { LimitOptions } from "./options/limits.js";
import { resolveLimit } from "./options/limits.js";
import type { PortcullisOptions, ResolvedOptions } from "./options/options.js";
import { resolveOptions } from "./options/options.js";
import { checkBoolean, checkObject, checkOneOf, optionError } from "./options/validate.js";
import { ChargeFactory } from "./quota/policy.js";
import type { Revocations } from "./revocation/revocations.js";
import { RevocationService } from "./revocation/revocations.js";
import { Keyspace } from "./store/keys.js";
import type { StoreState } from "./store/ports.js";
import type { Stores } from "./store/stores.js";
import { createStores } from "./store/stores.js";
import { events } from "./telemetry/events.js";

/** What a middleware does with a refusal: answer it, or throw a DenialError for the application's error handler. */
export interface DenyOptions {
  /** @default "respond" */
  readonly onDeny?: "respond" | "throw" | undefined;
}

export interface AuthenticateOptions extends DenyOptions {
  /** Let requests without a token pass as anonymous. @default the `auth.optional` of the gate */
  readonly optional?: boolean | undefined;
}

export interface GuardOptions<Middleware> extends AuthenticateOptions {
  /** Middleware of this gate to apply in this order, instead of authentication, limits and cache. */
  readonly checks?: readonly Middleware[] | undefined;
}

/** The state of everything a gate depends on. */
export interface Health {
  /** `up`: all well; `degraded`: a policy for bad days decides in part; `down`: protected requests are refused. */
  readonly status: "up" | "degraded" | "down";
  readonly store: StoreState;
  readonly keys: "up" | "down" | "none";
}

/**
 * A gate in front of an application, with middleware for one framework. `Raw` is that framework's request or context.
 */
export interface Gate<Raw, Middleware> {
  /** Authentication, revocation, the gate's limits and the request cache: one verdict, one question to the store. */
  guard(options?: GuardOptions<Middleware>): Middleware;
  /** Authentication and revocation alone. */
  authenticate(options?: AuthenticateOptions): Middleware;
  /** One rate-limit policy alone. Per-user limits need `guard()` or `authenticate()` before it. */
  limit(policy: LimitOptions<Raw>, options?: DenyOptions): Middleware;
  /** The request cache alone. */
  requestCache(): Middleware;
  /** Passes requests whose token grants all of these scopes. Needs `guard()` or `authenticate()` before it. */
  requireScopes(...scopes: string[]): Middleware;
  /** Applies a middleware of this gate to all requests but those that the condition matches: public paths. */
  unless(condition: RouteCondition, middleware: Middleware): Middleware;
  /** Ends tokens before their time. */
  readonly revocations: Revocations;
  health(): Health;
  /** Ends connections and timers within a second, also when Redis is stopped. A client that was passed in stays open. */
  close(): Promise<void>;
}

/** Makes a middleware of one framework from a check. */
export type BindCheck<Raw, Middleware> = (check: Check<Raw>, property: string) => Middleware;

/** Builds a gate: options, stores, services, and the middleware that `bind` makes of their checks. */
export function createGate<Raw, Middleware extends object>(
  options: PortcullisOptions<Raw>,
  bind: BindCheck<Raw, Middleware>,
): Gate<Raw, Middleware> {
  const now = Date.now;
  const resolved = resolveOptions(options, now);
  const { auth, limits, logger } = resolved;
  if (!resolved.storeChosen) {
    logger.warn(
      {},
      'portcullis: no redis was given, so limits and revocations are per process; pass a URL, or "memory"',
    );
  }
  const stores = createStores(resolved);
  const services = createServices(resolved, stores, now);
  const made = new WeakMap<Middleware, Exposed<Raw>>();

  function expose(check: Check<Raw>, { onDeny = "respond" }: DenyOptions = {}): Middleware {
    checkOneOf("onDeny", onDeny, ["respond", "throw"]);
    const observed = observe(check);
    const middleware = bind(onDeny === "throw" ? throwing(observed) : observed, resolved.property);
    made.set(middleware, { check, onDeny });
    return middleware;
  }

  function exposed(option: string, middleware: Middleware): Exposed<Raw> {
    const known = made.get(middleware);
    if (known === undefined) throw optionError(option, "takes middleware made by this gate");
    return known;
  }

  function observe(check: Check<Raw>): Check<Raw> {
    function note(verdict: Verdict): Verdict {
      if (verdict.allowed) return verdict;
      const { cause, status, problem } = verdict;
      logger.debug({ code: problem.code, status, cause }, "portcullis: denied");
      if (events.denied.hasSubscribers) events.denied.publish({ code: problem.code, status, cause });
      return verdict;
    }

    return function observed(exchange) {
      const verdict = check(exchange);
      return verdict instanceof Promise ? verdict.then(note) : note(verdict);
    };
  }

  function admission(parts: AdmissionParts<Raw>): Check<Raw> {
    return createAdmission(services, parts);
  }

  function authentication(optional: boolean | undefined): "required" | "optional" | "off" {
    if (optional !== undefined) checkBoolean("optional", optional);
    if (auth === undefined) return "off";
    return (optional ?? auth.optional) ? "optional" : "required";
  }

  return {
    guard(guardOptions = {}) {
      checkObject("guard()", guardOptions, ["optional", "checks", "onDeny"]);
      const { optional, checks: own } = guardOptions;
      if (own === undefined) {
        return expose(admission({ authentication: authentication(optional), limits, cache: true }), guardOptions);
      }
      if (!Array.isArray(own)) throw optionError("guard().checks", "must be a list of middleware made by this gate");
      const parts = (own as Middleware[]).map((middleware) => exposed("guard().checks", middleware));
      const { onDeny = parts.some((part) => part.onDeny === "throw") ? "throw" : "respond" } = guardOptions;
      return expose(every(parts.map(({ check }) => check)), { onDeny });
    },
    authenticate(authenticateOptions = {}) {
      checkObject("authenticate()", authenticateOptions, ["optional", "onDeny"]);
      if (auth === undefined) throw optionError("auth", "is required for authenticate()");
      const { optional } = authenticateOptions;
      return expose(
        admission({ authentication: authentication(optional), limits: [], cache: false }),
        authenticateOptions,
      );
    },
    limit(policy, limitOptions = {}) {
      checkObject("limit()", limitOptions, ["onDeny"]);
      return expose(
        admission({ authentication: "off", limits: [resolveLimit("limit()", policy)], cache: false }),
        limitOptions,
      );
    },
    requestCache() {
      if (services.cache === undefined) throw optionError("cache", "is false, so there is no request cache");
      return expose(admission({ authentication: "off", limits: [], cache: true }));
    },
    requireScopes(...scopes) {
      return expose(requireScopes(scopes, services.challenges));
    },
    unless(condition, middleware) {
      const { check, onDeny } = exposed("unless()", middleware);
      return expose(exceptWhere(compileCondition("unless()", condition), check), { onDeny });
    },
    revocations: services.revocationsOrMissing,
    health() {
      const store = stores.security.state();
      const keys = auth === undefined ? "none" : auth.keys.status();
      const partly = store.status === "degraded" || !resolved.storeChosen;
      return { status: store.status === "down" || keys === "down" ? "down" : partly ? "degraded" : "up", store, keys };
    },
    async close() {
      auth?.keys.close();
      await stores.close();
    },
  };
}

/** A middleware as this gate remembers it, to build others from it. */
interface Exposed<Raw> {
  readonly check: Check<Raw>;
  readonly onDeny: "respond" | "throw";
}

/** A record outlives its token by at least this: another service may forgive that much clock difference. */
const leastMarginSeconds = 300;

function createServices<Raw>(
  resolved: ResolvedOptions<Raw>,
  stores: Stores,
  now: () => number,
): AdmissionServices<Raw> & { readonly revocationsOrMissing: Revocations } {
  const { auth, prefix, keySecret, instances, ipv6PrefixLength, revocation, cacheTtlMs, headers, logger } = resolved;
  const keys = new Keyspace(prefix, keySecret);
  const challenges = createChallenges(auth?.realm);
  const revocations =
    auth === undefined || revocation === undefined
      ? undefined
      : new RevocationService({
          store: stores.security,
          keys,
          issuers: auth.issuers,
          marginSeconds: Math.max(Math.ceil(auth.rules.toleranceSeconds), leastMarginSeconds),
          maxLifetimeSeconds: auth.rules.maxLifetimeSeconds,
          now,
        });

  function prepare(facts: Auth): Omit<VerifiedToken, "auth"> {
    const partition = facts.principal === "" ? "" : keys.identifier(facts.principal);
    return { partition, question: revocations?.questionFor(facts) };
  }

  return {
    store: stores.security,
    verifier: auth === undefined ? undefined : new Verifier({ ...auth, cacheSize: 10_000, now, prepare }),
    sources: auth?.sources ?? [],
    revocations,
    revocationsOrMissing: revocations ?? missingRevocations,
    charges: new ChargeFactory({ keys, ipv6PrefixLength, logger }),
    cache:
      cacheTtlMs === undefined ? undefined : new RequestCacheFactory({ store: stores.cache, keys, ttlMs: cacheTtlMs }),
    challenges,
    degradation: new Degradation({
      revocations,
      revocationPolicy: revocation?.onStoreError ?? "deny",
      challenges,
      instances,
      now,
    }),
    headers,
    now,
  };
}

function refuseToRevoke(): Promise<never> {
  return Promise.reject(optionError("revocation", "is off for this gate, so nothing can be revoked or asked"));
}

const missingRevocations: Revocations = {
  revoke: refuseToRevoke,
  revokeSubject: refuseToRevoke,
  isRevoked: refuseToRevoke,
};
