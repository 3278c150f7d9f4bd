import type { IssuerScope } from "../auth/issuer-scope.js";
import type { CutoffRules } from "../revocation/cutoffs.js";
import type { Keyspace } from "../store/keyspace.js";
import type { StoreHealth } from "../store/ports/health.js";
import { clockDiffers } from "../store/ports/health.js";
import type { RevocationStore } from "../store/ports/revocation.js";
import type { SessionStore } from "../store/ports/sessions.js";
import type { SessionEvents } from "./events.js";
import type { ResolvedTokens } from "./options.js";
import { RefreshTokens } from "./refresh-token.js";
import { pause } from "../lib/real-timers.js";

/** The sessions that end. */
export type SessionEnd =
  /** One session; with `recordedOnly` only if the user has a record of it, since the id is what a client says. */
  | {
      readonly scope: "session";
      readonly principal: string;
      readonly sessionId: string;
      readonly recordedOnly?: boolean | undefined;
    }
  /** A session of an issuer (`iss`) that does not name the user: there is no record to delete. */
  | { readonly scope: "issuer-session"; readonly issuer: string; readonly sessionId: string }
  /** All sessions of a user but this one. `jti` is of the token that asks. */
  | {
      readonly scope: "others";
      readonly principal: string;
      readonly sessionId: string;
      readonly jti: string | undefined;
    }
  /** All sessions of a user that began up to `at` (unix seconds), and the tokens. @default now, by the store's clock */
  | { readonly scope: "user"; readonly principal: string; readonly at?: number | undefined }
  /** All sessions and tokens of an organisation so far. `group` is its name with the issuer. */
  | { readonly scope: "group"; readonly group: string }
  /** Sessions whose records the store has deleted already. */
  | {
      readonly scope: "deleted";
      readonly reason: "evicted" | "reused";
      readonly principal: string;
      readonly sessionIds: readonly string[];
    };

/**
 * Ends sessions. Every session ends by this function. Resolves to the number of records that were deleted, and rejects with a
 * StoreFault if the store cannot do all of it. To do it again does no more.
 */
export type EndSessions = (end: SessionEnd) => Promise<number>;

/** A logout that an issuer reports. */
export interface ForeignLogout {
  readonly issuer: string;
  readonly principal: string | undefined;
  readonly sessionId: string | undefined;
  /** Unix seconds. */
  readonly issuedAt: number;
}

export interface Logout {
  readonly endSessions: EndSessions;
  /**
   * Ends the session of a refresh token. Resolves to whether this gate's issuer signed the token. Undefined where no tokens
   * are issued.
   */
  readonly revokeRefreshToken: ((token: string) => Promise<boolean>) | undefined;
  /** Ends the session that an OpenID provider names, or all sessions that the user had at the time of the logout. */
  readonly logOut: (logout: ForeignLogout) => Promise<void>;
}

export interface LogoutOptions {
  readonly store: SessionStore;
  readonly revocationStore: RevocationStore;
  readonly health: StoreHealth;
  readonly keys: Keyspace;
  readonly issuers: IssuerScope;
  readonly events: SessionEvents;
  readonly cutoffs: CutoffRules;
  /** How far the clock of our own issuer may be from the store's. */
  readonly toleranceSeconds: number;
  readonly tokens: ResolvedTokens | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Sessions of an organisation that are deleted at once. */
const groupBatch = 100;

export function createLogout(options: LogoutOptions): Logout {
  const { store, revocationStore, health, keys, issuers, events, cutoffs, toleranceSeconds, tokens, now } = options;
  return { endSessions, logOut, revokeRefreshToken: tokens === undefined ? undefined : revokerOf(tokens) };

  /**
   * The cut-off comes first, since it alone makes the tokens invalid. The event follows at once, whether or not the records
   * can be deleted. Where the store has deleted the records already, the event comes first.
   */
  async function endSessions(end: SessionEnd): Promise<number> {
    if (end.scope === "deleted") {
      const { reason, principal, sessionIds } = end;
      events.publish({ reason, principal, sessionIds });
      await Promise.all(sessionIds.map((id) => cutOff(keys.sessionCutoff(issuers.beside(principal, id)))));
      return 0;
    }
    await keys.resolved();
    switch (end.scope) {
      case "session":
        return endSession(end);
      case "issuer-session": {
        const { issuer, sessionId } = end;
        await cutOff(keys.sessionCutoff(issuers.qualify(issuer, sessionId)));
        events.publish({ reason: "revoked", issuer: issuers.digestFor(issuer), sessionIds: [sessionId] });
        return 0;
      }
      case "others":
        return endOthers(end);
      case "user": {
        const { principal, at } = end;
        const cutoff = await cutOff(keys.subjectCutoff(principal), at);
        events.publish({ reason: "all", principal, cutoff });
        const sparesLater = at !== undefined;
        const ended = await store.end(keys.sessionsOf(principal), { kind: "all", endedAt: cutoff, sparesLater });
        // A session that began before `at` may have been refreshed after it: then the cut-off does not tell its tokens.
        if (sparesLater && ended.length > 0) events.publish({ reason: "all", principal, sessionIds: ended });
        return ended.length;
      }
      case "group":
        return endGroup(end.group);
    }
  }

  async function endSession({
    principal,
    sessionId,
    recordedOnly,
  }: SessionEnd & { scope: "session" }): Promise<number> {
    const subject = keys.sessionsOf(principal);
    if (recordedOnly === true && !(await store.ids(subject)).includes(sessionId)) return 0;
    await cutOff(keys.sessionCutoff(issuers.beside(principal, sessionId)));
    events.publish({ reason: "revoked", principal, sessionIds: [sessionId] });
    return (await store.end(subject, { kind: "only", id: sessionId })).length;
  }

  async function endOthers({ principal, sessionId, jti }: SessionEnd & { scope: "others" }): Promise<number> {
    const subject = keys.sessionsOf(principal);
    const others = (await store.ids(subject)).filter((id) => id !== sessionId);
    await cutOffEach(principal, others);
    const ended = await store.end(subject, { kind: "except", id: sessionId, jti });
    // A session that began between the two writes is no older than its own tokens.
    const late = ended.filter((id) => !others.includes(id));
    await cutOffEach(principal, late, true);
    return ended.length;
  }

  async function endGroup(group: string): Promise<number> {
    const { issuer, name: org } = issuers.parse(group);
    const cutoff = await cutOff(keys.groupCutoff(group));
    events.publish({ reason: "group", issuer, org, cutoff });
    const members = await store.endGroup(keys.groupOf(group));
    let count = 0;
    for (let start = 0; start < members.length; start += groupBatch) {
      const ended = await Promise.all(
        members
          .slice(start, start + groupBatch)
          .map(({ id, principal }) => store.end(keys.sessionsOf(principal), { kind: "only", id })),
      );
      count += ended.flat().length;
    }
    return count;
  }

  /** Announces the sessions whose cut-off was written, or all where the store has deleted their records already. */
  async function cutOffEach(principal: string, ids: readonly string[], areDeleted = false): Promise<void> {
    const cutoffKeys = ids.map((id) => keys.sessionCutoff(issuers.beside(principal, id)));
    const outcomes = await Promise.allSettled(cutoffKeys.map(async (key) => cutOff(key)));
    const over = ids.filter((_, index) => areDeleted || outcomes[index]?.status === "fulfilled");
    if (over.length > 0) events.publish({ reason: "revoked", principal, sessionIds: over });
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  async function cutOff(key: string, at?: number): Promise<number> {
    return revocationStore.cutOff(key, cutoffs.lifeSeconds, at);
  }

  async function logOut({ issuer, principal, sessionId, issuedAt }: ForeignLogout): Promise<void> {
    if (sessionId !== undefined) {
      await endSessions(
        principal === undefined
          ? { scope: "issuer-session", issuer, sessionId }
          : { scope: "session", principal, sessionId },
      );
    } else if (principal !== undefined) {
      // Sessions that began after the logout go on. The tolerance is for the difference of clocks: for another issuer, each
      // comparison with a cut-off has it already, and adding it twice would refuse sign-ins for twice as long.
      const at = Math.floor(issuedAt + (cutoffs.isOwn(issuer) ? toleranceSeconds : 0));
      await endSessions({ scope: "user", principal, at: Math.max(0, at) });
    }
  }

  function revokerOf({ refreshKeys, issuer }: ResolvedTokens): (token: string) => Promise<boolean> {
    const refreshTokens = new RefreshTokens(refreshKeys, issuer);
    return async function revokeRefreshToken(token) {
      const claims = await refreshTokens.read(token);
      if (claims === undefined) return false;
      // Where our clock is known to be wrong, a session that may have expired is ended all the same.
      const isAlive = claims.expiresAt > now() / 1000 || clockDiffers(health);
      const { subject, sessionId } = claims;
      const principal = issuers.principal(issuer, subject);
      // Without a record too: Redis may have lost it, and the session has access tokens all the same.
      if (isAlive) await endSessions({ scope: "session", principal, sessionId });
      return true;
    };
  }
}

/** Milliseconds before each further attempt: Redis may stand still for seconds. */
const retryPausesMs = [500, 2000, 8000];
/** Sessions that are tried again at once; beyond them one is left to expire. */
const maxRetrying = 100;

/**
 * Ends sessions whose tokens no client got, since the store failed while they began: they must not count against the user's
 * number of sessions, nor stand in a list. A failure is tried again in the background for some seconds.
 */
export class OrphanCleanup {
  readonly #endSessions: EndSessions;
  #retrying = 0;

  constructor(endSessions: EndSessions) {
    this.#endSessions = endSessions;
  }

  /** Resolves after the first attempt, even if it failed. */
  async end(principal: string, sessionId: string): Promise<void> {
    if (!(await this.#attempt(principal, sessionId))) void this.#retry(principal, sessionId);
  }

  async #retry(principal: string, sessionId: string): Promise<void> {
    if (this.#retrying >= maxRetrying) return;
    this.#retrying += 1;
    for (const waitMs of retryPausesMs) {
      await pause(waitMs, undefined, { ref: false });
      if (await this.#attempt(principal, sessionId)) break;
    }
    this.#retrying -= 1;
  }

  async #attempt(principal: string, sessionId: string): Promise<boolean> {
    return this.#endSessions({ scope: "session", principal, sessionId, recordedOnly: true }).then(
      () => true,
      () => false,
    );
  }
}
