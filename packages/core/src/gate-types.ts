import type { DenyOptions } from "./http/deny-options.js";
import type { IncomingMessage } from "node:http";
import type { Auth } from "./auth/claims.js";
import type { Identifier } from "./auth/identifying-claim.js";
import type { NamedUser } from "./auth/principal.js";
import type { GateCache } from "./cache/cache-types.js";
import type { Responses } from "./response-cache/purge.js";
import type { ClaimTest, RecentAuthOptions } from "./guard/authorize.js";
import type { RouteCondition } from "./http/path.js";
import type { Denied } from "./http/verdict.js";
import type { Finding } from "./lib/finding.js";
import type { Health } from "./health/monitor.js";
import type { Logins } from "./login/logins.js";
import type { ThrottleLoginOptions } from "./login/options.js";
import type { RevocationPolicy } from "./revocation/options.js";
import type { LimitOptions } from "./limits/options.js";
import type { ResponseCacheOptions } from "./response-cache/options.js";
import type { Quotas } from "./limits/administration.js";
import type { BreakerControl } from "./lib/breaker.js";
import type { Revocations } from "./revocation/revocations.js";
import type { Routes } from "./routes/routes.js";
import type { Sessions } from "./sessions/sessions.js";
import type { Tokens } from "./sessions/token-types.js";
import type { Metric } from "./telemetry/metrics.js";

export interface AuthenticateOptions extends DenyOptions {
  /** Let requests without a token pass as anonymous. @default the `auth.optional` of the gate */
  readonly optional?: boolean | undefined;
  /** What decides while the store cannot say whether a token is revoked. @default the gate's `revocation.onStoreError` */
  readonly onStoreError?: RevocationPolicy | undefined;
  /**
   * A CORS preflight carries no token. `"answer"` ends it with 204 and without CORS fields, for CORS middleware before the
   * gate; `"pass"` lets it pass as anonymous, for CORS middleware behind it. Handlers that do not look at the method answer
   * a preflight that passes as any other request. @default "answer"
   */
  readonly preflight?: "answer" | "pass" | undefined;
}

export interface GuardOptions<Middleware> extends AuthenticateOptions {
  /** Middleware of this gate to apply in this order, instead of authentication, limits and cache. */
  readonly checks?: readonly Middleware[] | undefined;
}

/** What {@link Gate.verify} found: who it is, or why not. */
export type Verification = { readonly allowed: true; readonly auth: Auth } | Denied;

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
  /**
   * Brute-force protection for a login route: bounds the attempts of an address, of an account, and of both together, before a
   * password is looked at. Handlers find the attempt as `loginAttempt`. Parse the body before it.
   */
  throttleLogin(options: ThrottleLoginOptions<Raw>): Middleware;
  /** The request cache alone. */
  requestCache(): Middleware;
  /**
   * A cache of whole responses in front of the handlers behind it, by the rules of RFC 9111: after `guard()`, since it answers
   * whoever gets to it. Also ends what unsafe requests through it make out of date.
   */
  cacheResponse(options?: ResponseCacheOptions<Raw>): Middleware;
  /** Passes requests whose token grants all of these scopes. Needs `guard()` or `authenticate()` before it. */
  requireScopes(...scopes: string[]): Middleware;
  /** Passes requests whose token grants at least one of these scopes. */
  requireAnyScope(...scopes: string[]): Middleware;
  /** Passes requests whose token has a claim (or a member of one, as `"org.plan"`) of this value, or that stands the test. */
  requireClaim(name: string, test: ClaimTest): Middleware;
  /** Passes requests whose token has at least one of these roles; see `auth.rolesClaim`. A role 42 is "42". */
  requireRole(...roles: Identifier[]): Middleware;
  /** Passes requests of a sign-in that is recent or strong enough, and says otherwise what a new one must bring (RFC 9470). */
  requireRecentAuth(options: RecentAuthOptions): Middleware;
  /** Applies a middleware of this gate to all requests but those that the condition matches: public paths. */
  unless(condition: RouteCondition, middleware: Middleware): Middleware;
  /** Applies a middleware of this gate only to requests that the condition matches. */
  when(condition: RouteCondition, middleware: Middleware): Middleware;
  /** Passes requests that one of these middleware of this gate passes, asked in order. */
  some(...middleware: Middleware[]): Middleware;
  /** Passes requests without credentials as anonymous, whatever this middleware of this gate says; bad ones are refused. */
  optional(middleware: Middleware): Middleware;
  /**
   * Authentication and revocation outside middleware, for sockets and jobs: of the token that a request carries, or of a
   * token. Resolves to `{ allowed: true, auth }`, or to a refusal with its status, headers and problem. No token is a
   * refusal (`credentials_required`), and so is any other value that a client may have sent in its place.
   */
  verify(source: string | IncomingMessage | null | undefined): Promise<Verification>;
  /**
   * The text that `auth.principal` is for a user, for calls about users of another issuer than the main one: the only one, or
   * `auth.sharedIssuer`. A TypeError for an issuer whose tokens this gate does not accept, or for none where there are several.
   */
  principal(user: NamedUser): string;
  /** Middleware that answers paths of its own. */
  readonly routes: Routes<Raw, Middleware>;
  /** The cache outside requests: the same entries as `req.cache` and `ctx.cache`. A TypeError if `cache` is false. */
  readonly cache: GateCache;
  /** Ends tokens before their time. */
  readonly revocations: Revocations;
  /** Issues access and refresh tokens; needs option `tokens`. */
  readonly tokens: Tokens;
  /** Who is signed in, and the end of it. */
  readonly sessions: Sessions;
  /** Ends stored responses before their time. */
  readonly responses: Responses;
  /** What `throttleLogin()` counts, for those who run the service. */
  readonly logins: Logins;
  /** Quotas at run time: how a client stands, who asks most, blocks, and limits that change without a deployment. */
  readonly quotas: Quotas;
  /** The circuit breakers in front of Redis, to see and to work by hand; none with in-process stores. */
  readonly breakers: readonly BreakerControl[];
  health(): Health;
  /**
   * Looks at what the gate stands on: Redis' version, eviction policy, persistence, clock, permissions and slots, the keys of
   * issuers, the trust in proxies. Never rejects. Also logged once, when Redis is first reached.
   */
  examine(): Promise<readonly Finding[]>;
  /** The gate's counters, for a registry of metrics. */
  metrics(): readonly Metric[];
  /** Makes `routes.health()` say that this process is not ready, so that a load balancer sends it nothing new. */
  drain(): void;
  /** Ends connections and timers within a second, also when Redis is stopped. A client that was passed in stays open. */
  close(): Promise<void>;
}
