import { RefreshTokens } from "./refresh-token.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { ResolvedTokens } from "./options.js";
import type { CutoffRules } from "../revocation/cutoffs.js";
import type { Keyspace } from "../store/keyspace.js";
import type { StoreHealth } from "../store/ports/health.js";
import { clockDiffers } from "../store/ports/health.js";
import type { RevocationStore } from "../store/ports/revocation.js";
import type { SessionStore } from "../store/ports/sessions.js";
import type { SessionEvents } from "./events.js";
import type { Sessions } from "./sessions.js";

/** A logout that an issuer tells of. */
export interface ForeignLogout {
  readonly issuer: string;
  readonly principal: string | undefined;
  readonly sessionId: string | undefined;
  /** Unix seconds. */
  readonly issuedAt: number;
}

/** How sessions end at the word of others: of clients that revoke tokens, and of OpenID providers. */
export interface Logout {
  /** Ends the session of a refresh token. Resolves to whether it is one of ours. Undefined where none are issued. */
  readonly revokeRefreshToken: ((token: string) => Promise<boolean>) | undefined;
  /** Ends the session, or all that the user had then. To do so twice does no more. */
  readonly logOut: (logout: ForeignLogout) => Promise<void>;
}

export interface LogoutOptions {
  readonly sessions: Sessions;
  readonly store: SessionStore;
  readonly security: RevocationStore;
  readonly health: StoreHealth;
  readonly keys: Keyspace;
  readonly issuers: IssuerScope;
  readonly news: SessionEvents;
  readonly cutoffs: CutoffRules;
  /** How far our own issuer's clock may be from the store's. */
  readonly toleranceSeconds: number;
  readonly tokens: ResolvedTokens | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export function createLogout(options: LogoutOptions): Logout {
  const { sessions, store, security, health, keys, issuers, news, cutoffs, toleranceSeconds, tokens, now } = options;
  return {
    revokeRefreshToken: tokens === undefined ? undefined : revokerOf(tokens),
    async logOut({ issuer, principal, sessionId, issuedAt }) {
      await keys.settled();
      if (sessionId !== undefined) {
        await security.cutOff(keys.sessionCutoff(issuers.qualify(issuer, sessionId)), cutoffs.lifeSeconds);
        news.announce({ reason: "revoked", issuer: issuers.digestFor(issuer), principal, sessionIds: [sessionId] });
        if (principal !== undefined) await store.end(keys.sessionsOf(principal), { kind: "only", id: sessionId });
      } else if (principal !== undefined) {
        // What began after the logout goes on, but for what the difference of clocks may hide: of another issuer's tokens
        // each comparison with a cut-off forgives that already, and twice would refuse sign-ins for twice as long.
        const at = Math.floor(issuedAt + (cutoffs.isOwn(issuer) ? toleranceSeconds : 0));
        const cutoff = await security.cutOff(keys.subjectCutoff(principal), cutoffs.lifeSeconds, Math.max(0, at));
        news.announce({ reason: "all", principal, cutoff });
        await store.end(keys.sessionsOf(principal), { kind: "all", endedAt: cutoff });
      }
    },
  };

  function revokerOf({ refreshKeys, issuer }: ResolvedTokens): (token: string) => Promise<boolean> {
    const refreshTokens = new RefreshTokens(refreshKeys, issuer);
    return async function revokeRefreshToken(token) {
      const claims = await refreshTokens.read(token);
      if (claims === undefined) return false;
      // Where our clock is known to be wrong, what may have expired is ended all the same.
      const isAlive = claims.expiresAt > now() / 1000 || clockDiffers(health);
      if (isAlive) await sessions.revoke(issuers.principal(issuer, claims.subject), claims.sessionId);
      return true;
    };
  }
}
