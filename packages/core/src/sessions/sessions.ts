import type { Auth } from "../auth/claims.js";
import type { Identifier } from "../auth/identifying-claim.js";
import { checkIdentifying, identifyingClaim } from "../auth/identifying-claim.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { Page, PageOptions } from "../lib/page.js";
import { resolvePage, writeCursor } from "../lib/page.js";
import { checkFunction, checkInteger, checkObject } from "../lib/validate.js";
import type { CutoffRules } from "../revocation/cutoffs.js";
import type { Revocations } from "../revocation/revocations.js";
import type { Keyspace } from "../store/keyspace.js";
import type { LivePosition, SessionStore, StoredSession } from "../store/ports/sessions.js";
import type { SessionEnd, SessionEvents } from "./events.js";
import type { EndSessions } from "./logout.js";
import { checkName, isName } from "./issue-request.js";

/** A session, as its user may see it. */
export interface Session {
  /** Identifier of the session: claim `sid`. */
  readonly id: string;
  /** Unix seconds. */
  readonly createdAt: number;
  /** Time of the last refresh, in unix seconds. */
  readonly lastSeenAt: number;
  /** Time at which the session expires unless it is refreshed, in unix seconds. */
  readonly expiresAt: number;
  /** Address of the last sign-in or refresh, as the application gave it. */
  readonly ip: string | undefined;
  /** User agent of the last sign-in or refresh, as the application gave it. */
  readonly userAgent: string | undefined;
  /** Name of the device, as the application gave it. */
  readonly label: string | undefined;
  /** The organisation of the session. */
  readonly org: string | undefined;
}

/** Options of `sessions.list()`. */
export interface ListOptions {
  /** Most sessions in the result, 1 to 1000. @default 100 */
  readonly limit?: number | undefined;
  /** Number of sessions to skip. @default 0 */
  readonly offset?: number | undefined;
}

/** A user with live sessions: a result of `sessions.subjects()`. */
export interface LiveSubject {
  /** The user, as every method accepts it. */
  readonly principal: string;
  /** The number of live sessions. */
  readonly sessions: number;
}

/** A user: the `auth` of a request, or its `principal`, which is the `sub` if the gate has one issuer. */
export type Subject = string | Pick<Auth, "principal">;

/**
 * Lists and ends sessions. Every method rejects with a {@link StoreFault} (503) if the store cannot do all of it, and can
 * then be called again.
 */
export interface Sessions {
  /** The live sessions of a user, the most recently seen first. */
  list(subject: Subject, options?: ListOptions): Promise<readonly Session[]>;
  /**
   * Resolves to the number of live sessions of all users of the issuer of this gate. Sessions that only a cut-off has ended, of
   * another service or of a process that was killed meanwhile, are counted until they would end by themselves.
   */
  count(): Promise<number>;
  /**
   * Lists users with live sessions, in parts. A call reads at most `limit` sessions, so that a part may have fewer users, also
   * none; `next` is undefined at the end. A user who keeps one session from the beginning of the list to its end is never missed,
   * whatever else begins, is refreshed or ends meanwhile. A user is listed once, and may be listed again if a session is refreshed or ends meanwhile.
   */
  subjects(options?: PageOptions): Promise<Page<LiveSubject>>;
  /**
   * Logs out: ends the session of a request. A token without a session is revoked alone. With a subject and an id, ends that
   * session of that user; an id of another user ends nothing. Resolves to whether a session ended.
   */
  revoke(auth: Auth | undefined): Promise<boolean>;
  /** Ends one session of a user. Resolves to false if the user has no such session. */
  revoke(subject: Subject, sessionId: string): Promise<boolean>;
  /** Ends all sessions of the user except that of the request, and revokes every other token that `auth:user_tokens:<subject>` names. */
  revokeOthers(auth: Auth | undefined): Promise<number>;
  /** Logs out everywhere: ends all sessions and revokes all tokens of the user up to now, also those of other services. Resolves to the number of sessions. */
  revokeAll(subject: Subject): Promise<number>;
  /** Ends all sessions and revokes all tokens of an organisation up to now. 42 is the same as "42". Resolves to the number of sessions. */
  revokeGroup(org: Identifier): Promise<number>;
  /**
   * Calls the listener when sessions or tokens end in any process: use it to close live connections. Returns a function that
   * removes the listener. `onMissed` is called at the start, and when events may have been lost because Redis was down: then
   * verify the tokens of all connections again.
   */
  onRevoked(listener: (ended: EndedSessions) => void, onMissed?: () => void): () => void;
}

/** The event as listeners get it. */
export interface EndedSessions extends SessionEnd {
  /** Has the token with this `auth` ended? */
  concerns(auth: Auth): boolean;
}

export interface SessionServiceOptions {
  readonly store: SessionStore;
  readonly keys: Keyspace;
  readonly issuers: IssuerScope;
  readonly revocations: Revocations;
  readonly endSessions: EndSessions;
  readonly events: SessionEvents;
  readonly cutoffs: CutoffRules;
  /** The claim that names the organisation of a token. */
  readonly orgClaim: string;
  /** The issuer of the organisations of `revokeGroup`, where the gate has several. */
  readonly issuer: string | undefined;
}

export class SessionService implements Sessions {
  readonly #options: SessionServiceOptions;

  constructor(options: SessionServiceOptions) {
    this.#options = options;
  }

  async list(subject: Subject, options: ListOptions = {}): Promise<readonly Session[]> {
    checkObject("list()", options, ["limit", "offset"]);
    const { limit = 100, offset = 0 } = options;
    checkInteger("list().limit", limit, 1, 1000);
    checkInteger("list().offset", offset, 0, 1_000_000);
    const { keys, store, issuers } = this.#options;
    const principal = this.#principal(subject);
    await keys.resolved();
    const sessions = await store.list(keys.sessionsOf(principal), offset, limit);
    if (sessions.length === 0) return [];
    // Another service may have written a cut-off without deleting our records.
    const orgs = [...new Set(sessions.flatMap(({ record: { org } }) => (org === undefined ? [] : [org])))];
    const groupKeys = orgs.map((org) => keys.groupCutoff(issuers.beside(principal, org)));
    const cutoffKeys = [keys.subjectCutoff(principal), ...groupKeys];
    const { cutoffs } = await store.readClock(cutoffKeys);
    const isOver = ({ record }: StoredSession): boolean =>
      [cutoffs[0], record.org === undefined ? undefined : cutoffs[1 + orgs.indexOf(record.org)]].some(
        (cutoff) => cutoff !== undefined && record.issuedAt <= cutoff,
      );
    return sessions.filter((session) => !isOver(session)).map(describe);
  }

  async count(): Promise<number> {
    const { keys, store, issuers, issuer } = this.#options;
    return store.count(keys.liveSessions(issuers.digestFor(issuer)));
  }

  async subjects(options: PageOptions = {}): Promise<Page<LiveSubject>> {
    const { limit, position } = resolvePage("subjects()", options, 4);
    const { keys, store, issuers, issuer } = this.#options;
    const digest = issuers.digestFor(issuer);
    const principalOf = (name: string): string => issuers.local(issuers.under(digest, name)) ?? name;
    await keys.resolved();
    const from = position === undefined ? undefined : readPosition(position);
    const live = keys.liveSessions(digest);
    const found = await store.subjects(live, from, limit, (name) => keys.sessionsOf(principalOf(name)));
    return {
      items: found.subjects.map(({ name, sessions }) => ({ principal: principalOf(name), sessions })),
      next: found.next === undefined ? undefined : writeCursor(...wordsOf(found.next)),
    };
  }

  async revoke(subject: Subject | Auth | undefined, sessionId?: string): Promise<boolean> {
    const { endSessions, issuers, revocations } = this.#options;
    if (sessionId !== undefined) {
      // The id may come from a client. No session has such an id.
      if (!isName(sessionId)) return false;
      const principal = this.#principal(subject);
      return (await endSessions({ scope: "session", principal, sessionId, recordedOnly: true })) > 0;
    }
    if (typeof subject !== "object" || (subject as Auth | null) === null || !("token" in subject))
      throw new TypeError("revoke() needs the auth of a request, or a subject and a session id; nobody is signed in");
    const principal = issuers.principalOf(subject);
    await revocations.revoke(subject);
    const { issuer, sessionId: own } = subject;
    if (own === undefined) return true;
    // The token proves that the session belongs to the user. A session of another service has no record here.
    await endSessions(
      principal === ""
        ? { scope: "issuer-session", issuer, sessionId: own }
        : { scope: "session", principal, sessionId: own },
    );
    return true;
  }

  async revokeOthers(auth: Auth | undefined): Promise<number> {
    if (typeof auth !== "object" || (auth as Auth | null) === null)
      throw new TypeError("revokeOthers() needs the auth of a request; nobody is signed in");
    if (auth.sessionId === undefined)
      throw new TypeError("revokeOthers() needs a token with a session (sid); this one has none");
    const { sessionId, jti } = auth;
    return this.#options.endSessions({ scope: "others", principal: this.#principal(auth), sessionId, jti });
  }

  async revokeAll(subject: Subject): Promise<number> {
    return this.#options.endSessions({ scope: "user", principal: this.#principal(subject) });
  }

  async revokeGroup(named: Identifier): Promise<number> {
    const org = checkIdentifying("the organisation", named);
    checkName("the organisation", org);
    const { endSessions, issuers, issuer } = this.#options;
    return endSessions({ scope: "group", group: issuers.qualify(issuer, org) });
  }

  onRevoked(listener: (ended: EndedSessions) => void, onMissed?: () => void): () => void {
    checkFunction("onRevoked()", listener);
    if (onMissed !== undefined) checkFunction("onRevoked().onMissed", onMissed);
    return this.#options.events.subscribe(
      (ending) => listener({ ...ending, concerns: (auth) => concerns(ending, auth, this.#options) }),
      onMissed,
    );
  }

  #principal(subject: Subject | undefined): string {
    const isAuth = typeof subject === "object" && (subject as object | null) !== null;
    const { issuers } = this.#options;
    const principal: unknown = isAuth ? issuers.principalOf(subject) : subject;
    // A token of another issuer may have a longer or an ill-formed name: its user must be able to log out everywhere.
    if (isAuth && "token" in subject && typeof principal === "string" && principal !== "") return principal;
    // The principal of another issuer is longer than the name in it, so the name is checked.
    checkName(
      "the subject",
      typeof principal === "string" && principal !== "" ? issuers.parse(principal).name : principal,
    );
    return principal as string;
  }
}

function concerns(
  { issuer, principal, sessionIds, org, jti, cutoff }: SessionEnd,
  auth: Auth,
  { issuers, orgClaim, cutoffs }: Pick<SessionServiceOptions, "issuers" | "orgClaim" | "cutoffs">,
): boolean {
  // Another gate may have verified the token of the connection.
  if (issuers.issuerOf(auth) !== issuer) return false;
  if (principal !== undefined && !issuers.isOf(principal, auth)) return false;
  if (org !== undefined && identifyingClaim(auth.claims, orgClaim) !== org) return false;
  if (jti !== undefined) return auth.jti === jti;
  if (sessionIds !== undefined) return auth.sessionId !== undefined && sessionIds.includes(auth.sessionId);
  return cutoff === undefined || cutoffs.revokes(cutoff, auth);
}

function wordsOf({ key, endsAt, id, startedAt }: LivePosition): string[] {
  return [String(key), String(endsAt), id, String(startedAt)];
}

/** Other texts than numbers and an id begin anew: they come from no list. */
function readPosition([key, endsAt, id = "", startedAt]: readonly string[]): LivePosition | undefined {
  const position = { key: Number(key), endsAt: Number(endsAt), id, startedAt: Number(startedAt) };
  const numbers = [position.key, position.endsAt, position.startedAt];
  return numbers.every((one) => Number.isSafeInteger(one) && one >= 0) ? position : undefined;
}

function describe({ id, record }: StoredSession): Session {
  const { createdAt, seenAt, idleEndsAt, ip, userAgent, label, org } = record;
  return {
    id,
    createdAt: Math.floor(createdAt / 1000),
    lastSeenAt: Math.floor(seenAt / 1000),
    expiresAt: Math.floor(idleEndsAt / 1000),
    ip,
    userAgent,
    label,
    org,
  };
}
