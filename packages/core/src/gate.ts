import { principalOf } from "./auth/principal.js";
import { operations } from "./lib/documentation.js";
import type { Finding } from "./store/ports/health.js";
import { examineGate } from "./health/examination.js";
import { gateMetrics } from "./health/metrics.js";
import { tokenPlaces } from "./response-cache/credentials.js";
import { resolveEvents } from "./realtime/event-options.js";
import { resolveIdempotency } from "./coordination/idempotency-options.js";
import { openResponseCaches } from "./response-cache/response-cache.js";
import { IssuerScope } from "./auth/issuer-scope.js";
import { openIssuers } from "./auth/issuers.js";
import { offerExtension } from "./extension.js";
import type { AuthenticateOptions, Gate } from "./gate-types.js";
import type { DenyOptions } from "./http/verdict.js";
import type { GuardParts } from "./guard/guard.js";
import { createGuard } from "./guard/guard.js";
import { PreflightAnswers } from "./guard/preflight.js";
import { requireAnyScope, requireClaim, requireRecentAuth, requireRole, requireScopes } from "./guard/authorize.js";
import { every, exceptWhere, onlyWhere, some } from "./guard/compose.js";
import { MiddlewareFactory } from "./guard/middleware.js";
import { HealthMonitor } from "./health/monitor.js";
import { Consumer } from "./guard/consume.js";
import {
  checkSource,
  checkVerifyOptions,
  hasToken,
  messageExchange,
  tokenExchange,
  tolerantSources,
} from "./guard/message-exchange.js";
import { compileCondition, compileWideCondition } from "./http/path.js";
import { createLogins } from "./login/administration.js";
import { throttleLogin } from "./login/throttle.js";
import type { Attachment, Check } from "./request/state.js";
import { resolveLimit } from "./limits/options.js";
import { headersOf } from "./limits/policy.js";
import { resolveResponseCache } from "./response-cache/options.js";
import { resolveThrottleLogin } from "./login/options.js";
import type { PortcullisOptions } from "./options.js";
import { resolveOptions } from "./options.js";
import { checkRevocationPolicy } from "./revocation/options.js";
import { UnnamedServiceWarning, unnamed } from "./store/service-name.js";
import { checkBoolean, checkObject, checkOneOf, optionError } from "./lib/validate.js";
import { refuseUncalled } from "./lib/uncalled.js";
import { addOpenGate } from "./open-gates.js";
import { wallNow } from "./lib/steady-clock.js";
import { createRoutes } from "./routes/routes.js";
import { createServices } from "./services.js";
import { Keyspace } from "./store/keyspace.js";
import { SharedIssuer } from "./store/shared-issuer.js";
import { createStores } from "./store/stores.js";
import { DevelopmentLog } from "./telemetry/development-log.js";
import { releaseGateName, takeGateName } from "./telemetry/gate-names.js";
import type { Metric } from "./telemetry/metrics.js";
import { AuditTrail } from "./telemetry/audit.js";
import { Telemetry } from "./telemetry/telemetry.js";

/** Makes middleware of one framework from a check, for exchanges at this attachment ({@link exchangeFor}). */
export type BindCheck<Raw, Middleware> = (check: Check<Raw>, property: string, attachment: Attachment) => Middleware;

/** Creates a gate: options, stores, services, and middleware, which `bind` makes from checks. */
export function createGate<Raw, Middleware extends object>(
  options: PortcullisOptions<Raw>,
  bind: BindCheck<Raw, Middleware>,
): Gate<Raw, Middleware> {
  // Options: read and checked. Nothing has started.
  const resolved = resolveOptions(options);
  const { limits, logger, service } = resolved;
  if (!resolved.storeChosen) {
    logger.warn(
      {},
      'portcullis: no redis was given, so limits and revocations are per process; pass a URL, or "memory"',
    );
  }
  const now = wallNow;
  const telemetry = new Telemetry({ ...resolved.telemetry, gate: takeGateName(resolved.telemetry.gate) });
  const openGate = addOpenGate(resolved, telemetry.requests);
  const developmentLog = resolved.telemetry.debug ? new DevelopmentLog() : undefined;
  const audit = new AuditTrail(resolved.audit, logger);

  // Stores: connections open.
  const issuers = resolved.auth?.scope ?? new IssuerScope();
  const sharedIssuer = new SharedIssuer({ issuers, verifies: resolved.auth !== undefined, logger });
  const keyspace = new Keyspace(resolved.prefix, resolved.keySecret, {
    issuers,
    service: service.keyText,
    shared: sharedIssuer,
  });
  const cachesInRedis = resolved.redis !== undefined && resolved.cache?.redis !== false;
  const isUnnamed = resolved.redis !== undefined && service.keyText === unnamed;
  const unnamedUse = isUnnamed ? new UnnamedServiceWarning(logger) : undefined;
  const used = { caches: false, coordination: false, oneTime: false, channels: false };
  const stores = createStores(resolved, {
    keys: keyspace,
    shared: sharedIssuer,
    telemetry,
    onFirstCacheUse: cachesInRedis ? noteCaches : undefined,
  });

  // Services: keys of issuers are fetched.
  const auth = resolved.auth === undefined ? undefined : openIssuers(resolved.auth, { logger, telemetry });
  const services = createServices(resolved, {
    ...{ auth, stores, keyspace, telemetry, audit, now, noteCoordination, noteChannel },
    onRegister: (policies) => openGate.notePolicies(policies),
  });
  const limitHeaders = new Set(headersOf(limits));
  const responseCaches = openResponseCaches<Raw>({
    ...{ store: stores.cache, keys: keyspace, telemetry, logger, renewals: services.cache?.renewals, now },
    ...{ local: resolved.responses.local, signals: stores.cacheSignals },
    identity: { headers: limitHeaders, ...tokenPlaces(services.sources, resolved.tokens?.cookies) },
  });
  const monitor = new HealthMonitor(resolved, stores, services.degradation, auth?.keys, used, services.connections);
  stores.onReady(() => void logFindings());
  let closed = false;

  // Middleware.
  const factory = new MiddlewareFactory<Raw, Middleware>({
    bind: (check, attachment) => bind(check, resolved.property, attachment),
    ...{ telemetry, logger, developmentLog, problemTypes: services.problemTypes },
  });
  const preflights = new PreflightAnswers(logger);
  const verification = { authentication: "required", limits: [], cache: false } as const;
  const sources = tolerantSources(services.sources, noteSourceError);
  const alone = { ...services, sources: [{ kind: "header", maxLength: auth?.maxTokenLength }] } as const;
  const verifyMessage = factory.observe(createGuard({ ...services, sources }, verification));
  const verifyToken = factory.observe(createGuard(alone, verification));
  const verifyHandshake = factory.observe(createGuard({ ...services, sources }, { ...verification, limits }));
  const verifyTokenHandshake = factory.observe(createGuard(alone, { ...verification, limits }));
  const consumer = new Consumer<Raw>({
    ...{ issuers: auth?.scope, keys: keyspace },
    policyOf: (name) => services.administration.quotas.policyOf(name),
    register: (policy) => services.administration.quotas.register([policy]),
    checkOf: (policy) =>
      factory.observe(createGuard(services, { authentication: "off", limits: [policy], cache: false })),
  });
  let notedSourceError = false;

  function noteCaches(): void {
    used.caches = true;
    unnamedUse?.note();
  }

  function noteCoordination(part?: "one-time"): void {
    used.coordination = true;
    if (part === "one-time") used.oneTime = true;
    unnamedUse?.note();
  }

  function noteChannel(use: "defined" | "reliable"): void {
    used.channels = true;
    if (use === "reliable") used.coordination = true;
    unnamedUse?.note();
  }

  function noteSourceError(error: unknown): void {
    if (notedSourceError) return;
    notedSourceError = true;
    const message =
      "portcullis: auth.tokenFrom failed for a value that was passed to verify() and is not a request; verify() refused it";
    logger.warn({ err: error }, message);
  }

  function createMiddleware(
    parts: GuardParts<Raw>,
    denyOptions?: DenyOptions,
    preflight: AuthenticateOptions["preflight"] = "answer",
  ): Middleware {
    const identifies = parts.authentication !== "off";

    function checkWith(authentication: GuardParts<Raw>["authentication"]): Check<Raw> {
      const guard = createGuard(services, { ...parts, authentication });
      return identifies && preflight === "answer" ? preflights.wrap(guard) : guard;
    }

    const lenient = checkWith(parts.authentication === "required" ? "optional" : parts.authentication);
    return factory.toMiddleware(checkWith(parts.authentication), denyOptions, { lenient, identifies });
  }

  /** Makes middleware from a check of the verified token. */
  function authorize(check: Check<Raw>): Middleware {
    return factory.toMiddleware(check, {}, { identifies: auth !== undefined });
  }

  async function examine(): Promise<readonly Finding[]> {
    await keyspace.resolved("background");
    return examineGate({
      ...{ resolved, stores, keys: auth?.keys, addresses: services.consumptions.addresses, sharedIssuer },
      ...{ used, unnamed: unnamedUse?.noted === true },
    });
  }

  /** Logs the findings once, when Redis is first reached. */
  async function logFindings(): Promise<void> {
    const findings = await examine();
    for (const { code, severity, message } of closed ? [] : findings) {
      // Logged already when they were noticed.
      if (code === "service_unnamed" || code === "shared_issuer_taken") continue;
      const text = `portcullis: ${message} (see ${operations}#${code})`;
      if (severity === "info") logger.debug({ code }, text);
      else logger.warn({ code, severity }, text);
    }
  }

  function readMetrics(): readonly Metric[] {
    const counted = [...telemetry.read(), audit.read(), ...(services.cache?.metrics() ?? [])];
    return gateMetrics(counted, monitor.read(), { gate: telemetry.gate, service: service.name });
  }

  /** The options of authentication for one middleware. */
  function identification({
    optional = auth?.optional,
    onStoreError,
  }: AuthenticateOptions): Pick<GuardParts<Raw>, "authentication" | "onStoreError"> {
    if (optional !== undefined) checkBoolean("optional", optional);
    if (onStoreError !== undefined) checkRevocationPolicy("onStoreError", onStoreError);
    return { authentication: auth === undefined ? "off" : optional === true ? "optional" : "required", onStoreError };
  }

  const gate: Gate<Raw, Middleware> = {
    name: telemetry.gate,
    guard(guardOptions = {}) {
      checkObject("guard()", guardOptions, ["optional", "checks", "onDeny", "onStoreError", "preflight"]);
      const { checks, preflight } = guardOptions;
      checkPreflight(preflight);
      if (checks === undefined)
        return createMiddleware({ ...identification(guardOptions), limits, cache: true }, guardOptions, preflight);
      if (!Array.isArray(checks)) throw optionError("guard().checks", "must be a list of middleware made by this gate");
      for (const name of ["optional", "onStoreError", "preflight"] as const) {
        if (guardOptions[name] !== undefined)
          throw optionError(
            `guard().${name}`,
            "has no effect together with checks; give it to authenticate() in that list",
          );
      }
      if (checks.length === 0)
        throw optionError("guard().checks", "needs at least one middleware of this gate: an empty list guards nothing");
      const parts = (checks as Middleware[]).map((middleware) => factory.checkOf("guard().checks", middleware));
      return factory.combine(parts, every, guardOptions.onDeny);
    },
    authenticate(authenticateOptions = {}) {
      checkObject("authenticate()", authenticateOptions, ["optional", "onDeny", "onStoreError", "preflight"]);
      const { preflight } = authenticateOptions;
      checkPreflight(preflight);
      if (auth === undefined) throw optionError("auth", "is required for authenticate()");
      return createMiddleware(
        { ...identification(authenticateOptions), limits: [], cache: false },
        authenticateOptions,
        preflight,
      );
    },
    limit(policy, limitOptions = {}) {
      checkObject("limit()", limitOptions, ["onDeny"]);
      const own = [resolveLimit("limit()", policy)];
      services.administration.quotas.register(own);
      for (const name of headersOf(own)) limitHeaders.add(name);
      return createMiddleware({ authentication: "off", limits: own, cache: false }, limitOptions);
    },
    throttleLogin(loginOptions) {
      const throttle = throttleLogin(resolveThrottleLogin(loginOptions), services.logins);
      return factory.toMiddleware((exchange) => {
        services.consumptions.examineAddress(exchange);
        return throttle(exchange);
      }, loginOptions);
    },
    requestCache() {
      if (services.cache === undefined) throw optionError("cache", "is false, so there is no request cache");
      return createMiddleware({ authentication: "off", limits: [], cache: true });
    },
    cacheResponse(cacheOptions = {}) {
      const cacheResponse = responseCaches.create(resolveResponseCache(cacheOptions));
      if (cachesInRedis) noteCaches();
      return factory.toMiddleware(cacheResponse);
    },
    idempotency(idempotencyOptions = {}) {
      const protection = resolveIdempotency(idempotencyOptions, auth !== undefined);
      if (protection.onStoreError === "deny") noteCoordination();
      else unnamedUse?.note();
      return factory.toMiddleware(services.idempotency.protect(protection), idempotencyOptions, {
        identifies: auth !== undefined,
      });
    },
    events(eventsOptions) {
      if (auth === undefined) throw optionError("auth", "is required for events()");
      const events = resolveEvents(eventsOptions, (channel) => services.channels.owns(channel));
      return factory.toMiddleware(services.events.answer(events), eventsOptions, { identifies: true });
    },
    requireScopes: (...scopes) => authorize(requireScopes(scopes, services)),
    requireAnyScope: (...scopes) => authorize(requireAnyScope(scopes, services)),
    requireClaim: (name, test) => authorize(requireClaim(name, test, services)),
    requireRole: (...roles) => authorize(requireRole(roles, services)),
    requireRecentAuth: (recency) => authorize(requireRecentAuth(recency, services, now, stores)),
    unless(condition, middleware) {
      const matches = compileCondition("unless()", condition);
      return factory.combine([factory.checkOf("unless()", middleware)], (checks) =>
        exceptWhere(matches, every(checks)),
      );
    },
    when(condition, middleware) {
      const matches = compileWideCondition("when()", condition);
      return factory.combine([factory.checkOf("when()", middleware)], (checks) => onlyWhere(matches, every(checks)));
    },
    some(...alternatives) {
      const parts = alternatives.map((middleware) => factory.checkOf("some()", middleware));
      if (parts.length === 0) throw optionError("some()", "needs at least one middleware of this gate");
      return factory.combine(parts, some);
    },
    optional(middleware) {
      const { lenient, onDeny, identifies } = factory.checkOf("optional()", middleware);
      return factory.toMiddleware(lenient, { onDeny }, { lenient, identifies });
    },
    async verify(source, verifyOptions = {}) {
      if (auth === undefined) throw optionError("auth", "is required for verify()");
      checkSource(source);
      checkVerifyOptions(source, verifyOptions);
      const message = typeof source === "string" ? undefined : messageExchange<Raw>(source, verifyOptions);
      const exchange = message ?? tokenExchange<Raw>(typeof source === "string" ? source : "");
      const byToken = message === undefined || hasToken(verifyOptions);
      const plain = byToken ? verifyToken : verifyMessage;
      const check = verifyOptions.limits !== true ? plain : byToken ? verifyTokenHandshake : verifyHandshake;
      const verdict = await check(exchange);
      if (!verdict.allowed) return verdict;
      const { auth: who } = exchange.state.facts;
      if (who !== undefined) return { allowed: true, auth: who };
      return services.problemTypes(services.challenges.credentialsRequired());
    },
    async explain(token, explainOptions) {
      if (services.explainer === undefined) throw optionError("auth", "is required for explain()");
      return services.explainer.explain(token, explainOptions);
    },
    consume: (limit, consumeOptions) => consumer.consume(limit, consumeOptions),
    principal(user) {
      if (resolved.auth === undefined) throw optionError("auth", "is required for principal()");
      return principalOf(resolved.auth, user);
    },
    get cache() {
      if (services.cache === undefined) throw optionError("cache", "is false, so there is no cache");
      return services.cache.gateView;
    },
    revocations: services.revocationsOrMissing,
    tokens: services.tokens,
    sessions: services.sessions,
    responses: responseCaches.responses,
    quotas: services.administration.quotas,
    oneTime: services.oneTime,
    routes: createRoutes<Raw, Middleware>(
      {
        ...services,
        auth,
        keys: keyspace,
        monitor,
        ...{ readMetrics, telemetry, logger },
        resolvedAuth: resolved.auth,
        publicUrl: resolved.publicUrl,
        resolvedTokens: resolved.tokens,
      },
      (check) => factory.toMiddleware(check, {}, { isRoute: true }),
    ),
    logins: createLogins(services.logins),
    connections: services.connections,
    locks: services.locks,
    leader: (name, leaderOptions) => services.leaders.candidate(name, leaderOptions),
    channels: services.channels,
    breakers: stores.breakers,
    health: () => monitor.read(),
    examine,
    metrics: readMetrics,
    drain() {
      monitor.drain();
      factory.drain();
      services.events.drain();
    },
    async close() {
      if (!closed) releaseGateName(telemetry.gate);
      closed = true;
      factory.close();
      developmentLog?.close();
      openGate.leave();
      auth?.keys.close();
      services.connections.close();
      services.administration.close();
      services.channels.close();
      services.idempotency.close();
      const ended = services.leaders.close().then(() => services.locks.close());
      await Promise.all([services.cache?.close(), responseCaches.close(), ended]);
      await closeExtension();
      await stores.close(() => services.settlement.close());
    },
  };
  const closeExtension = offerExtension(gate, {
    ...{ logger, keyspace, openFurther: stores.openFurther, orgClaim: resolved.revocation?.orgClaim },
    ...{ problemTypes: services.problemTypes, note: (...refusal) => factory.noteRefusal(...refusal) },
    onUse: () => noteCoordination(),
  });
  refuseUncalled(gate);
  return gate;
}

function checkPreflight(preflight: unknown): void {
  if (preflight !== undefined) checkOneOf("preflight", preflight, ["answer", "pass"]);
}
