import type { Denied, DenyOptions } from "./http/verdict.js";
import type { IncomingMessage } from "node:http";
import type { Auth } from "./auth/claims.js";
import type { ClaimPath, Identifier } from "./auth/identifying-claim.js";
import type { NamedUser } from "./auth/principal.js";
import type { GateCache } from "./cache/cache-types.js";
import type { Leader, LeaderOptions } from "./coordination/leader.js";
import type { Locks } from "./coordination/locks.js";
import type { Connections } from "./realtime/connection-types.js";
import type { Responses } from "./response-cache/invalidation.js";
import type { Consumed, ConsumeOptions } from "./guard/consume.js";
import type { ExplainOptions } from "./guard/explain.js";
import type { Explanation } from "./guard/explanation.js";
import type { VerifyOptions } from "./guard/message-exchange.js";
import type { ClaimTest, RecentAuthOptions } from "./guard/authorize.js";
import type { IdempotencyOptions } from "./coordination/idempotency-options.js";
import type { RouteCondition } from "./http/path.js";
import type { Finding } from "./store/ports/health.js";
import type { Health } from "./health/monitor.js";
import type { Logins } from "./login/administration.js";
import type { EventsOptions } from "./realtime/event-options.js";
import type { OneTimeValues } from "./coordination/one-time.js";
import type { ThrottleLoginOptions } from "./login/options.js";
import type { RevocationPolicy } from "./revocation/options.js";
import type { GateChannels } from "./realtime/channel-options.js";
import type { LimitOptions } from "./limits/options.js";
import type { ResponseCacheOptions } from "./response-cache/options.js";
import type { Quotas } from "./limits/administration.js";
import type { BreakerControl } from "./lib/breaker.js";
import type { Revocations } from "./revocation/revocations.js";
import type { Routes } from "./routes/routes.js";
import type { Sessions } from "./sessions/sessions.js";
import type { Tokens } from "./sessions/tokens.js";
import type { Metric } from "./telemetry/metrics.js";

/** Options of `authenticate()`. */
export interface AuthenticateOptions extends DenyOptions {
  /** Let requests without a token pass as anonymous. @default the `auth.optional` of the gate */
  readonly optional?: boolean | undefined;
  /** Policy while the store cannot tell whether a token is revoked. @default the gate's `revocation.onStoreError` */
  readonly onStoreError?: RevocationPolicy | undefined;
  /**
   * Treatment of CORS preflights, which carry no token. `"answer"` answers 204 without CORS fields, for CORS middleware before
   * the gate; `"pass"` lets them pass as anonymous, for CORS middleware behind the gate. A handler that ignores the method
   * answers such a preflight like any other request. @default "answer"
   */
  readonly preflight?: "answer" | "pass" | undefined;
}

/** Options of `guard()`. */
export interface GuardOptions<Middleware> extends AuthenticateOptions {
  /** Middleware of this gate, applied in this order instead of authentication, limits and cache. */
  readonly checks?: readonly Middleware[] | undefined;
}

/** The result of {@link Gate.verify}: the verified token, or the refusal. */
export type Verification = { readonly allowed: true; readonly auth: Auth } | Denied;

/**
 * A gate in front of an application, with middleware for one framework. `Raw` is that framework's request or context.
 */
export interface Gate<Raw, Middleware> {
  /** The name of the gate in metrics and events; no other gate of this process has it. See option `telemetry.gate`. */
  readonly name: string;
  /** Authentication, revocation, the gate's limits and the request cache: one verdict, one question to the store. */
  guard(options?: GuardOptions<Middleware>): Middleware;
  /** Authentication and revocation alone. */
  authenticate(options?: AuthenticateOptions): Middleware;
  /** One rate-limit policy alone. A limit per user needs `guard()` or `authenticate()` before it. */
  limit(policy: LimitOptions<Raw>, options?: DenyOptions): Middleware;
  /**
   * Brute-force protection for a login route: limits the attempts of an address, of an account, and of both together, before the
   * password is checked. Handlers find the attempt as `loginAttempt`. Needs a body parser before it.
   */
  throttleLogin(options: ThrottleLoginOptions<Raw>): Middleware;
  /** The request cache alone. */
  requestCache(): Middleware;
  /**
   * A cache of whole responses for the handlers behind it (RFC 9111). Put it after `guard()`: it answers every request that
   * reaches it. Unsafe requests through it invalidate stored responses.
   */
  cacheResponse(options?: ResponseCacheOptions<Raw>): Middleware;
  /**
   * Runs the handlers behind it once for each `Idempotency-Key` of a caller, and answers retries with the first response
   * (draft-ietf-httpapi-idempotency-key-header-07). Put it behind `guard()`, which finds the caller. A process that ends
   * during its handler releases the key: the next request runs it again, so each handler runs at least once.
   */
  idempotency(options?: IdempotencyOptions<Raw>): Middleware;
  /**
   * Answers requests with streams of server-sent events (WHATWG HTML, 9.2): the messages of a channel, for topics of the user,
   * until the token ends. Put it behind `guard()`, which finds the user; it answers every request that reaches it.
   */
  events(options: EventsOptions<Raw>): Middleware;
  /** Passes requests whose token grants all of these scopes. Needs `guard()` or `authenticate()` before it. */
  requireScopes(...scopes: string[]): Middleware;
  /** Passes requests whose token grants at least one of these scopes. */
  requireAnyScope(...scopes: string[]): Middleware;
  /** Passes requests whose token has a claim (or a member of one, as `"org.plan"` or `["org", "plan"]`) that equals a value or passes a test. */
  requireClaim(claim: ClaimPath, test: ClaimTest): Middleware;
  /** Passes requests whose token has at least one of these roles (`auth.rolesClaim`). The role 42 is "42". */
  requireRole(...roles: Identifier[]): Middleware;
  /** Passes requests after a recent or strong enough sign-in; otherwise the challenge names what is needed (RFC 9470). */
  requireRecentAuth(options: RecentAuthOptions): Middleware;
  /** Applies a middleware of this gate to all requests that the condition does not match, such as all but public paths. */
  unless(condition: RouteCondition, middleware: Middleware): Middleware;
  /** Applies a middleware of this gate only to requests that the condition matches. */
  when(condition: RouteCondition, middleware: Middleware): Middleware;
  /** Passes requests that at least one of these middleware of this gate passes, tried in order. */
  some(...middleware: Middleware[]): Middleware;
  /** Applies a middleware of this gate, but passes requests without credentials as anonymous. Bad credentials are refused. */
  optional(middleware: Middleware): Middleware;
  /**
   * Authentication and revocation outside middleware, for sockets and jobs. Takes a request or a token. Resolves to
   * `{ allowed: true, auth }`, or to a refusal with status, headers and problem. A missing token, or a value that is not a
   * token, is a refusal (`credentials_required`). For a handshake pass `{ limits: true, handshake: true }`.
   */
  verify(source: string | IncomingMessage | null | undefined, options?: VerifyOptions): Promise<Verification>;
  /**
   * Explains what `guard()` would say about a token now, and why: claims, the keys that are asked for, the revocation record,
   * cut-offs, the session, and the limits of its user. Counts, writes and fetches nothing; functions of the application, such as
   * `auth.validate`, are called. Resolves for every value, also for one that is not a token. For operators: never answer a
   * public request with it, since it tells an attacker what is wrong with a token.
   */
  explain(token: unknown, options?: ExplainOptions<Raw>): Promise<Explanation>;
  /**
   * Counts an event outside middleware, such as a message on a socket, by one of the gate's limits: by its name, or by a limit
   * of its own, which is made once and kept. Resolves to `{ allowed: true, quotas }`, or to a refusal.
   */
  consume(limit: string | LimitOptions<Raw>, options: ConsumeOptions<Raw>): Promise<Consumed>;
  /**
   * Returns the `auth.principal` of a user, for calls about users of another issuer than the main one (the only issuer, or
   * `auth.sharedIssuer`). Throws a TypeError for an issuer that the gate does not accept, or for a missing issuer if there are
   * several.
   */
  principal(user: NamedUser): string;
  /** Middleware with paths of its own. */
  readonly routes: Routes<Raw, Middleware>;
  /** The cache outside requests, with the entries of `req.cache` and `ctx.cache`. Throws a TypeError if `cache` is false. */
  readonly cache: GateCache;
  /** Revokes tokens. */
  readonly revocations: Revocations;
  /** Issues access and refresh tokens. Needs option `tokens`. */
  readonly tokens: Tokens;
  /** Lists and ends sessions. */
  readonly sessions: Sessions;
  /** Purges stored responses. */
  readonly responses: Responses;
  /** Administration of `throttleLogin()`. */
  readonly logins: Logins;
  /** Administration of quotas: the state of a client, the busiest clients, blocks, and overrides of limits. */
  readonly quotas: Quotas;
  /**
   * Locks that all processes of this service share, with a lease and a fence. In process without Redis. They are not
   * reentrant.
   */
  readonly locks: Locks;
  /**
   * The candidate of this process for the leadership of a name. Nothing is sent before `start()` or `run()`. Each call with
   * a name returns the same candidate, until it is closed.
   */
  leader(name: string, options?: LeaderOptions): Leader;
  /** Issues and consumes one-time values, for e-mail confirmation, password reset, OpenID Connect and passkeys. */
  readonly oneTime: OneTimeValues;
  /**
   * Open connections that end with their token: at its expiry, and within a second of its revocation or the end of its session,
   * whichever process or service has recorded it.
   */
  readonly connections: Connections;
  /** Messages between all processes of this service: publish and subscribe, with resume on reliable channels. */
  readonly channels: GateChannels;
  /** The circuit breakers in front of Redis, to read and to open or close by hand. Empty with in-process stores. */
  readonly breakers: readonly BreakerControl[];
  /** The state of the gate and its dependencies. */
  health(): Health;
  /**
   * Examines the environment of the gate: Redis' version, eviction policy, persistence, clock, permissions and slots, the keys
   * of issuers, the trust in proxies. Never rejects. The findings are also logged once, when Redis is first reached.
   */
  examine(): Promise<readonly Finding[]>;
  /** The metrics of the gate, for a registry of metrics. */
  metrics(): readonly Metric[];
  /**
   * Prepares the end of this process: `routes.health()` reports that it is not ready, so that a load balancer sends no new
   * requests; streams of events end; every response of a middleware ends its connection (`Connection: close`, GOAWAY in HTTP/2).
   */
  drain(): void;
  /** Closes connections and timers within a second, also if Redis is down. A client given as option stays open. */
  close(): Promise<void>;
}
