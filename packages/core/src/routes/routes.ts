import type { OpenedAuth } from "../auth/issuers.js";
import type { ResolvedAuth } from "../auth/options.js";
import type { Challenges } from "../guard/challenges.js";
import type { HealthMonitor } from "../health/monitor.js";
import type { Check } from "../request/state.js";
import type { Revocations } from "../revocation/revocations.js";
import type { Logout } from "../sessions/logout.js";
import type { ResolvedTokens } from "../sessions/options.js";
import type { Keyspace } from "../store/keyspace.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import type { StoreHealth } from "../store/ports/health.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metric } from "../telemetry/metrics.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { BackchannelLogoutOptions } from "./backchannel-logout.js";
import { backchannelLogoutRoute } from "./backchannel-logout.js";
import type { HealthRouteOptions } from "./health.js";
import { healthRoutes } from "./health.js";
import type { JwksRouteOptions } from "./jwks.js";
import { jwksRoute } from "./jwks.js";
import type { MetricsRouteOptions } from "./metrics.js";
import { metricsRoute } from "./metrics.js";
import type { ResourceMetadataOptions } from "./resource-metadata.js";
import { resourceMetadata } from "./resource-metadata.js";
import type { RevokeRouteOptions } from "./revoke.js";
import { revokeRoute } from "./revoke.js";

/** Middleware with paths of its own, which lets all other requests pass: `app.use(gate.routes.resourceMetadata())`. */
export interface Routes<Raw, Middleware> {
  /**
   * The protected resource metadata (RFC 9728): authorization servers and scopes of this API, at
   * `/.well-known/oauth-protected-resource` followed by the path of `publicUrl`. Every challenge of the gate then names its URL
   * in the parameter `resource_metadata`. Needs `publicUrl` and `auth`.
   */
  resourceMetadata(options?: ResourceMetadataOptions): Middleware;
  /**
   * Liveness at `/healthz`, always 200. Readiness at `/readyz`, 503 after `drain()` and while an outage makes the gate refuse
   * protected requests. Both respond with `{ status }` as JSON; the option `details` adds the state of each dependency.
   */
  health(options?: HealthRouteOptions<Raw>): Middleware;
  /**
   * The public keys that verify the gate's own tokens (RFC 7517), at `/.well-known/jwks.json`. Needs `tokens` with a private
   * key.
   */
  jwks(options?: JwksRouteOptions): Middleware;
  /** Token revocation by clients (RFC 7009), at `/revoke`: access tokens, and refresh tokens that the gate issued. */
  revoke(options?: RevokeRouteOptions<Raw>): Middleware;
  /**
   * Logout by an OpenID provider (OpenID Connect Back-Channel Logout 1.0), at `/backchannel-logout`: ends the session, or all
   * sessions and tokens of the user.
   */
  backchannelLogout(options: BackchannelLogoutOptions<Raw>): Middleware;
  /** The counters of the gate in the text format of Prometheus, at `/metrics`. Every client can read them: keep the path internal. */
  metrics(options?: MetricsRouteOptions): Middleware;
}

export interface RouteServices<Raw> {
  readonly auth: OpenedAuth<Raw> | undefined;
  readonly resolvedAuth: ResolvedAuth<Raw> | undefined;
  readonly publicUrl: string | undefined;
  readonly resolvedTokens: ResolvedTokens | undefined;
  readonly store: DecisionStore;
  readonly health: StoreHealth;
  readonly keys: Keyspace;
  readonly challenges: Challenges;
  /** Undefined where revocation is off. */
  readonly revocations: Revocations | undefined;
  /** Undefined where the gate has no sessions. */
  readonly logout: Logout | undefined;
  readonly monitor: HealthMonitor<Raw>;
  readonly readMetrics: () => readonly Metric[];
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The routes of a gate. `toMiddleware` makes middleware of one framework from a check. */
export function createRoutes<Raw, Middleware>(
  services: RouteServices<Raw>,
  toMiddleware: (check: Check<Raw>) => Middleware,
): Routes<Raw, Middleware> {
  const { resolvedAuth, publicUrl, resolvedTokens, challenges, logout, monitor, readMetrics } = services;
  return {
    resourceMetadata: (options = {}) => toMiddleware(resourceMetadata(options, resolvedAuth, publicUrl, challenges)),
    health: (options = {}) => toMiddleware(healthRoutes(options, monitor)),
    jwks: (options = {}) => toMiddleware(jwksRoute(options, resolvedTokens)),
    revoke: (options = {}) =>
      toMiddleware(revokeRoute(options, { ...services, revokeRefreshToken: logout?.revokeRefreshToken })),
    backchannelLogout: (options) =>
      toMiddleware(backchannelLogoutRoute(options, { ...services, logOut: logout?.logOut })),
    metrics: (options = {}) => toMiddleware(metricsRoute(options, readMetrics)),
  };
}
