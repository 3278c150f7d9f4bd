import type { IssuerScope } from "../auth/issuer-scope.js";
import type { ApplyProblemTypes } from "../http/problem-types.js";
import type { ResolvedOptions } from "../options.js";
import { createTokenCookies, resolveCookies } from "./cookies.js";
import { optionError } from "../lib/validate.js";
import type { CutoffRules } from "../revocation/cutoffs.js";
import type { Revocations } from "../revocation/revocations.js";
import type { Keyspace } from "../store/keyspace.js";
import type { Stores } from "../store/stores.js";
import type { Logout } from "./logout.js";
import { createLogout } from "./logout.js";
import type { SessionEvents } from "./events.js";
import type { Sessions } from "./sessions.js";
import { SessionService } from "./sessions.js";
import type { Tokens } from "./tokens.js";
import { TokenService } from "./tokens.js";
import { DroppedMembersWarning } from "../telemetry/dropped-members.js";
import type { AuditTrail } from "../telemetry/audit.js";
import type { Telemetry } from "../telemetry/telemetry.js";

/** The session services of a gate. If an option is missing, every call rejects and names it. */
export interface SessionServices {
  readonly tokens: Tokens;
  readonly sessions: Sessions;
  /** Undefined where the gate has no sessions. */
  readonly logout: Logout | undefined;
}

export interface SessionFoundation {
  readonly stores: Pick<Stores, "sessions" | "decisions" | "revocations" | "state">;
  readonly keys: Keyspace;
  readonly events: SessionEvents;
  readonly telemetry: Telemetry;
  /** @default none */
  readonly audit?: AuditTrail | undefined;
  /** Undefined where revocation is off. */
  readonly revocations: Revocations | undefined;
  readonly cutoffs: CutoffRules | undefined;
  readonly problemTypes: ApplyProblemTypes;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export function createSessions<Raw>(
  { auth, revocation, tokens, cache, deadlineMs, logger }: ResolvedOptions<Raw>,
  { stores, keys, events, telemetry, audit, revocations, cutoffs, problemTypes, now }: SessionFoundation,
): SessionServices {
  if (auth === undefined || revocation === undefined || revocations === undefined || cutoffs === undefined)
    return { sessions: missingSessions, tokens: missingTokens, logout: undefined };
  const issuers: IssuerScope = auth.scope;
  const common = {
    store: stores.sessions,
    revocationStore: stores.revocations,
    keys,
    issuers,
    orgClaim: revocation.orgClaim,
  };
  const { toleranceSeconds } = auth;
  const logout = createLogout({ ...common, health: stores, events, cutoffs, toleranceSeconds, tokens, now });
  const { endSessions } = logout;
  const droppedMembers = new DroppedMembersWarning(logger);
  return {
    logout,
    sessions: new SessionService({ ...common, events, cutoffs, revocations, endSessions, issuer: tokens?.issuer }),
    tokens:
      tokens === undefined
        ? missingTokens
        : new TokenService({
            ...common,
            decisions: stores.decisions,
            tokens,
            endSessions,
            problemTypes,
            tenantClaim: cache?.tenantClaim,
            onDropped: () => droppedMembers.note("claims"),
            deadlineMs,
            maxLifetimeSeconds: auth.maxLifetimeSeconds,
            audit,
            onRefused(cause) {
              telemetry.refreshRefused(cause);
              logger.debug({ code: "refresh_refused", cause }, "portcullis: a refresh was refused");
            },
            onRefresh(outcome, afterMs) {
              telemetry.refreshed(outcome, afterMs);
              if (outcome === "reused")
                logger.warn(
                  { code: "refresh_reused" },
                  "portcullis: a refresh token was used again; its session has ended",
                );
              else if (outcome === "repeated")
                logger.debug(
                  { code: "refresh_repeated", afterMs },
                  "portcullis: a refresh token got its successor again, which was never presented",
                );
            },
          }),
  };
}

function refuseSessions(): Promise<never> {
  return Promise.reject(optionError("revocation", "must not be false, and auth is required, for sessions"));
}

const missingSessions: Sessions = {
  list: refuseSessions,
  count: refuseSessions,
  subjects: refuseSessions,
  revoke: refuseSessions,
  revokeOthers: refuseSessions,
  revokeAll: refuseSessions,
  revokeGroup: refuseSessions,
  onRevoked() {
    throw optionError("revocation", "must not be false, and auth is required, for sessions");
  },
};

function refuseTokens(): Promise<never> {
  return Promise.reject(optionError("tokens", "is required to issue tokens: { signingKey, issuer, audience }"));
}

const missingTokens: Tokens = {
  issue: refuseTokens,
  refresh: refuseTokens,
  answer: () => undefined,
  cookies: createTokenCookies(resolveCookies("tokens.cookies", {})),
};
