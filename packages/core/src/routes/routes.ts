import type { BackchannelLogoutOptions } from "./backchannel-logout.js";
import type { HealthRouteOptions } from "./health.js";
import type { JwksRouteOptions } from "./jwks.js";
import type { MetricsRouteOptions } from "./metrics.js";
import type { ResourceMetadataOptions } from "./resource-metadata.js";
import type { RevokeRouteOptions } from "./revoke.js";

/** Middleware that answers paths of its own and lets all other requests pass: `app.use(gate.routes.resourceMetadata())`. */
export interface Routes<Raw, Middleware> {
  /**
   * Tells clients which authorization servers and scopes this API knows (RFC 9728), at
   * `/.well-known/oauth-protected-resource` followed by the path of `publicUrl`. From then on every challenge of the gate
   * names that address in its parameter `resource_metadata`. Needs `publicUrl` and `auth`.
   */
  resourceMetadata(options?: ResourceMetadataOptions): Middleware;
  /**
   * Liveness at `/healthz`, always 200; readiness at `/readyz`, 503 while protected requests would be refused for an outage
   * or after `drain()`. Both answer `{ status }` as JSON; option `details` says more.
   */
  health(options?: HealthRouteOptions<Raw>): Middleware;
  /**
   * The public keys that verify the gate's own tokens (RFC 7517), at `/.well-known/jwks.json`. Needs `tokens` with a private
   * key.
   */
  jwks(options?: JwksRouteOptions): Middleware;
  /** Lets clients revoke their tokens (RFC 7009), at `/revoke`: access tokens, and refresh tokens that the gate issued. */
  revoke(options?: RevokeRouteOptions<Raw>): Middleware;
  /**
   * Hears from OpenID providers that somebody has logged out (OpenID Connect Back-Channel Logout 1.0), at
   * `/backchannel-logout`, and ends the session or all tokens of the user.
   */
  backchannelLogout(options: BackchannelLogoutOptions<Raw>): Middleware;
  /** The gate's counters in the text format of Prometheus, at `/metrics`. Whoever can ask sees them: keep it internal. */
  metrics(options?: MetricsRouteOptions): Middleware;
}
