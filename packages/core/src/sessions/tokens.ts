import { randomBytes } from "node:crypto";
import { checkIdentifying } from "../auth/identifying-claim.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { RefreshClaims } from "./refresh-token.js";
import { RefreshTokens, UnknownKey } from "./refresh-token.js";
import type { ApplyProblemTypes } from "../http/problem-types.js";
import { DenialError } from "../http/verdict.js";
import type { ResolvedTokens } from "./options.js";
import { checkObject } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import type { RevocationStore } from "../store/ports/revocation.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Creation, LiveToken, ClockReading, SessionRecord, SessionStore } from "../store/ports/sessions.js";
import type { EndSessions } from "./logout.js";
import { OrphanCleanup } from "./logout.js";
import type { TokenCookies } from "./cookies.js";
import { createTokenCookies } from "./cookies.js";
import type { GrantRules, IssuedTokens, IssueRequest, Lasting, RefreshRequest } from "./issue-request.js";
import { checkAttempt, checkName, readDevice, readGrant, readLasting, claimsOfGrant } from "./issue-request.js";
import type { AuditTrail } from "../telemetry/audit.js";
import type { RefreshOutcome } from "../telemetry/telemetry.js";
import type { TokenAnswer } from "./token-error.js";
import { TokenError, noStore, tooManySessions, unavailableAnswer } from "./token-error.js";
import { setTimeout } from "../lib/real-timers.js";

/** Issues access and refresh tokens. Every method rejects with a {@link StoreFault} (503) if the store is unavailable. */
export interface Tokens {
  /**
   * Starts a session. Rejects with a DenialError (409, `session_limit`) if the user already has the maximum number of sessions,
   * and with a TypeError for an invalid request.
   */
  issue(request: IssueRequest): Promise<IssuedTokens>;
  /**
   * Replaces a refresh token, and issues a new access token. Parallel and repeated calls get the same refresh token: within
   * `tokens.overlap`, and within `tokens.lostAnswer`, until that token is presented. Afterwards the use of a replaced token
   * ends its session. Rejects with a {@link TokenError} (`invalid_grant`).
   */
  refresh(refreshToken: string | null | undefined, request?: RefreshRequest): Promise<IssuedTokens>;
  /** The response of a token endpoint to an error of these methods. Undefined for other errors. */
  answer(error: unknown): TokenAnswer | undefined;
  /** Cookies for the tokens of a browser. */
  readonly cookies: TokenCookies;
}

export interface TokenServiceOptions extends GrantRules {
  readonly tokens: ResolvedTokens;
  readonly store: SessionStore;
  readonly decisions: DecisionStore;
  readonly revocationStore: RevocationStore;
  readonly keys: Keyspace;
  readonly issuers: IssuerScope;
  readonly endSessions: EndSessions;
  readonly problemTypes: ApplyProblemTypes;
  readonly deadlineMs: number;
  /** `auth.maxLifetime`. */
  readonly maxLifetimeSeconds: number;
  /** Called with the outcome of each refresh that found its session. */
  readonly onRefresh: (outcome: RefreshOutcome, afterMs: number) => void;
  /** @default none */
  readonly audit?: AuditTrail | undefined;
  /** Called with the reason of each refused refresh, except for a token that was used again. */
  readonly onRefused?: ((reason: string) => void) | undefined;
}

/** The session that a sign-in starts. */
interface NewSession {
  readonly id: string;
  readonly org: string | undefined;
  readonly description: SessionDescription;
  /** How long it lasts from a time on, in unix milliseconds. */
  readonly lastingFrom: (nowMs: number) => Lasting;
}

type SessionDescription = Pick<SessionRecord, "ip" | "userAgent" | "label" | "grant">;

const issueMembers = [
  ...["subject", "claims", "scopes", "org", "device", "attempt"],
  ...["idleLifetime", "sessionLifetime", "persistent"],
];

/** Most live access tokens of one session. A client that refreshes more often loses the oldest. */
const maxAccess = 16;

/** Most attempts to create a session. Each waits for the second after the last cut-off. */
const maxAttempts = 10;

/** Longest wait for a cut-off to pass. One that is further in the future comes from a wrong clock. */
const maxWaitMs = 5000;

const usedBefore = "the token was used before";

export class TokenService implements Tokens {
  readonly cookies: TokenCookies;
  readonly #options: TokenServiceOptions;
  readonly #refreshTokens: RefreshTokens;
  readonly #mintTokens: MintTokens;
  readonly #orphans: OrphanCleanup;

  constructor(options: TokenServiceOptions) {
    const { refreshKeys, issuer, cookies } = options.tokens;
    this.#options = options;
    this.#refreshTokens = new RefreshTokens(refreshKeys, issuer);
    this.#mintTokens = createTokenMint(options.tokens, this.#refreshTokens, options.orgClaim);
    this.#orphans = new OrphanCleanup(options.endSessions);
    this.cookies = createTokenCookies(cookies);
  }

  async issue(request: IssueRequest): Promise<IssuedTokens> {
    checkObject("issue()", request, issueMembers);
    const { attempt } = request;
    if (attempt === undefined) return this.#issue(request);
    checkAttempt(attempt);
    try {
      const issued = await this.#issue(request);
      void attempt.succeed();
      return issued;
    } catch (error) {
      // The password was right, even if the user has the maximum number of sessions. A fault is not a wrong guess.
      void (error instanceof DenialError ? attempt.succeed() : attempt.interrupt());
      throw error;
    }
  }

  async #issue(request: IssueRequest): Promise<IssuedTokens> {
    const { subject, claims = {}, scopes = [], device } = request;
    const { keys, issuers, tokens, endSessions } = this.#options;
    checkName("subject", subject);
    const org = request.org === undefined ? undefined : checkIdentifying("org", request.org);
    if (org !== undefined) checkName("org", org);
    const description = { ...readDevice(device), grant: readGrant(claims, scopes, this.#options) };
    const lastingFrom = (nowMs: number): Lasting =>
      readLasting(request, tokens, this.#options.maxLifetimeSeconds, nowMs);
    lastingFrom(0); // before anything is asked
    const principal = issuers.principal(tokens.issuer, subject);
    const group = org === undefined ? undefined : issuers.qualify(tokens.issuer, org);
    const id = randomBytes(16).toString("base64url");
    await keys.resolved();

    const { record, evicted } = await this.#create(principal, group, { id, description, org, lastingFrom });
    try {
      if (evicted.length > 0)
        await endSessions({ scope: "deleted", reason: "evicted", principal, sessionIds: evicted });
      await this.#track(principal, group, id, record, []);
    } catch (error) {
      await this.#orphans.end(principal, id);
      throw error;
    }
    const issued = await this.#mintTokens({
      ...{ subject, sessionId: id, record, predecessor: undefined, nowMs: record.seenAt },
    });
    this.#options.audit?.record({ type: "sign_in", principal, sessionId: id, org, ip: description.ip });
    return issued;
  }

  async refresh(refreshToken: string | null | undefined, request: RefreshRequest = {}): Promise<IssuedTokens> {
    checkObject("refresh()", request, ["claims", "scopes", "device"]);
    try {
      return await this.#rotate(refreshToken, request);
    } catch (error) {
      if (error instanceof TokenError && error.reason !== usedBefore) this.#options.onRefused?.(error.reason);
      throw error;
    }
  }

  async #rotate(refreshToken: string | null | undefined, request: RefreshRequest): Promise<IssuedTokens> {
    // A JSON body may hold any value here, null included.
    if ((refreshToken ?? "") === "") throw new TokenError("invalid_request", "no refresh token");
    const presented = await this.#refreshTokens.read(refreshToken);
    if (presented === undefined) throw new TokenError("invalid_grant", "the token was not issued here");
    const { keys, store, tokens, endSessions, onRefresh } = this.#options;
    const { sessionId, org } = presented;
    const principal = this.#principal(presented.subject);
    await keys.resolved();
    const reading = await this.#checkNotRevoked(presented);
    const successors = this.#refreshTokens.successors(presented);
    const subject = keys.sessionsOf(principal);
    const rotated = await store.rotate(subject, {
      id: sessionId,
      presented: presented.jti,
      generation: presented.generation,
      successor: successors.refresh,
      access: successors.access,
      issuedAt: Math.floor(reading.ms / 1000),
      accessSeconds: tokens.accessSeconds,
      idleMs: tokens.idleMs,
      repeatMs: Math.max(tokens.overlapMs, tokens.lostAnswerMs),
      renewedAccess: randomBytes(24).toString("base64url"),
      maxAccess,
      notAfter: this.#notAfter(reading),
      changes: this.#changes(request),
    });
    if (rotated.outcome === "late") throw new StoreFault("timeout");
    if (rotated.outcome === "missing") throw new TokenError("invalid_grant", "there is no such session");
    if (rotated.outcome === "reused") {
      onRefresh("reused", 0);
      // The store has deleted the session already: if the token comes once more, there is no session.
      await endSessions({ scope: "deleted", reason: "reused", principal, sessionIds: [sessionId] });
      throw new TokenError("invalid_grant", usedBefore);
    }
    const { record, surplus } = rotated;
    const afterMs = Math.max(0, reading.ms - record.seenAt);
    const isLate = afterMs >= tokens.overlapMs;
    const isRepeated = rotated.outcome === "repeated" && isLate;
    onRefresh(rotated.outcome === "rotated" ? "rotated" : isLate ? "repeated" : "overlap", afterMs);
    if (isRepeated) this.#options.audit?.record({ type: "refresh_repeated", principal, sessionId, afterMs });
    const group = org === undefined ? undefined : this.#qualify(org);
    await this.#track(principal, group, sessionId, record, [presented.jti, ...surplus]);
    try {
      const { subject: sub, jti } = presented;
      return await this.#mintTokens({ subject: sub, sessionId, record, predecessor: jti, nowMs: reading.ms });
    } catch (error) {
      if (error instanceof UnknownKey)
        throw new TokenError("invalid_grant", "the successor was made with a key that this process does not have");
      throw error;
    }
  }

  answer(error: unknown): TokenAnswer | undefined {
    if (error instanceof TokenError)
      return { status: error.status, headers: error.headers, body: { ...error.toJSON() } };
    if (error instanceof StoreFault) return unavailableAnswer(error.headers);
    if (error instanceof DenialError)
      return { status: error.status, headers: { ...noStore, ...error.headers }, body: { ...error.problem } };
    return undefined;
  }

  /** Creates a session that is later than every cut-off, so that a sign-in right after "log out everywhere" works. */
  async #create(
    principal: string,
    group: string | undefined,
    { id, description, org, lastingFrom }: NewSession,
  ): Promise<{ record: SessionRecord; evicted: readonly string[] }> {
    const { keys, store, tokens } = this.#options;
    const cutoffKeys = [keys.subjectCutoff(principal), ...(group === undefined ? [] : [keys.groupCutoff(group)])];
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const reading = await store.readClock(cutoffKeys);
      const [cutoff] = reading.cutoffs;
      const issuedAt = Math.floor(reading.ms / 1000);
      const latest = Math.max(...reading.cutoffs.map((one) => one ?? 0));
      if (latest >= issuedAt) {
        await waitUntil(latest + 1, reading);
        continue;
      }
      const record: SessionRecord = {
        createdAt: reading.ms,
        seenAt: reading.ms,
        ...lastingFrom(reading.ms),
        issuedAt,
        generation: 0,
        current: randomBytes(24).toString("base64url"),
        access: [{ jti: randomBytes(24).toString("base64url"), expiresAt: issuedAt + tokens.accessSeconds }],
        ...(group === undefined ? {} : { org, orgTokens: keys.groupOf(group).shared }),
        ...description,
      };
      const { maxSessions, onLimit } = tokens;
      const creation: Creation = { id, record, cutoff, maxSessions, onLimit, notAfter: this.#notAfter(reading) };
      const created = await store.create(keys.sessionsOf(principal), creation).catch(async (error: unknown) => {
        // The session may exist: perhaps only the reply was lost.
        await this.#orphans.end(principal, id);
        throw error;
      });
      if (created.outcome === "created") return { record, evicted: created.evicted };
      if (created.outcome === "late") throw new StoreFault("timeout");
      if (created.outcome === "full") {
        this.#options.audit?.record({ type: "sign_in_refused", principal });
        throw new DenialError(this.#options.problemTypes(tooManySessions(maxSessions)));
      }
      await waitUntil(created.ended + 1, reading);
    }
    throw new StoreFault("overloaded");
  }

  /**
   * Refuses a revoked or expired token. Resolves to the time of the new tokens, which is no later than the reading of the
   * cut-offs: a cut-off that moves afterwards then revokes the new tokens too.
   */
  async #checkNotRevoked({ subject, sessionId, org, jti, issuedAt, expiresAt }: RefreshClaims): Promise<ClockReading> {
    const { keys, store, decisions } = this.#options;
    const cutoffKeys = [keys.subjectCutoff(this.#principal(subject)), keys.sessionCutoff(this.#qualify(sessionId))];
    if (org !== undefined) cutoffKeys.push(keys.groupCutoff(this.#qualify(org)));
    const reading = await store.readClock(cutoffKeys);
    const token = { revokedKey: keys.revokedToken(this.#qualify(jti)), cutoffKeys, issuedAt };
    const answer = await decisions.ask({ beforeToken: [], token, afterToken: [] });
    if (answer instanceof StoreFault) throw answer;
    if (answer.revoked instanceof StoreFault) throw answer.revoked;
    if (answer.revoked === true || reading.cutoffs.some((cutoff) => cutoff !== undefined && issuedAt <= cutoff))
      throw new TokenError("invalid_grant", "the token is revoked");
    if (expiresAt * 1000 <= reading.ms) throw new TokenError("invalid_grant", "the token is expired");
    return reading;
  }

  #changes({ claims, scopes, device }: RefreshRequest): Partial<SessionDescription> {
    if ((claims === undefined) !== (scopes === undefined))
      throw new TypeError("refresh() takes claims and scopes together: both are replaced");
    return {
      ...readDevice(device),
      ...(claims === undefined ? {} : { grant: readGrant(claims, scopes, this.#options) }),
    };
  }

  /** Tells other services about the tokens before the client has them. */
  async #track(
    principal: string,
    group: string | undefined,
    id: string,
    { current, access, idleEndsAt }: SessionRecord,
    drop: readonly string[],
  ): Promise<void> {
    const { keys, store, issuers } = this.#options;
    const newest = access.slice(-1);
    const add: LiveToken[] = [...newest, { jti: current, expiresAt: Math.floor(idleEndsAt / 1000) }];
    const gone = drop.filter((jti) => !add.some((one) => one.jti === jti));
    // The gate that ends the organisation's sessions may have another main issuer.
    const member = { id, principal: issuers.universal(principal) };
    await Promise.all([
      store.trackSubject(keys.sessionsOf(principal), { add, drop: gone }),
      group === undefined ? undefined : store.trackGroup(keys.groupOf(group), { add, drop: gone }, member, idleEndsAt),
    ]);
  }

  #principal(subject: string): string {
    return this.#options.issuers.principal(this.#options.tokens.issuer, subject);
  }

  #qualify(identifier: string): string {
    return this.#options.issuers.qualify(this.#options.tokens.issuer, identifier);
  }

  /** The latest time, by the store's clock, at which a call may run. When a stopped Redis continues, no caller waits any more. */
  #notAfter({ ms }: ClockReading): number {
    return ms + 4 * this.#options.deadlineMs + 1000;
  }
}

/** Waits until a second begins by the store's clock. */
async function waitUntil(second: number, { ms }: ClockReading): Promise<void> {
  const wait = second * 1000 - ms;
  if (wait > maxWaitMs) throw new StoreFault("skewed");
  await new Promise((resolve) => setTimeout(resolve, Math.max(1, wait)));
}

interface MintRequest {
  readonly subject: string;
  readonly sessionId: string;
  readonly record: SessionRecord;
  /** The jti of the refresh token that was replaced; undefined for the first. */
  readonly predecessor: string | undefined;
  /** Unix milliseconds. */
  readonly nowMs: number;
}

/** Signs the tokens that the record of a session describes. The same record gives the same tokens. */
type MintTokens = (request: MintRequest) => Promise<IssuedTokens>;

function createTokenMint(tokens: ResolvedTokens, refreshTokens: RefreshTokens, orgClaim: string): MintTokens {
  return async function mintTokens({ subject, sessionId, record, predecessor, nowMs }) {
    const { org, issuedAt, generation, current, access, accessIssuedAt = issuedAt, persistent = true } = record;
    const { claims, scopes } = claimsOfGrant(record.grant);
    const newest = access.at(-1) as LiveToken;
    const refreshExpiresAt = Math.floor(record.idleEndsAt / 1000);
    const accessToken = await tokens.keys.sign({
      ...claims,
      ...(org === undefined ? {} : { [orgClaim]: org }),
      iss: tokens.issuer,
      sub: subject,
      aud: tokens.audience.length === 1 ? (tokens.audience[0] as string) : [...tokens.audience],
      sid: sessionId,
      jti: newest.jti,
      iat: accessIssuedAt,
      exp: newest.expiresAt,
    });
    const refreshToken = await refreshTokens.sign(
      { subject, sessionId, org, jti: current, generation, issuedAt, expiresAt: refreshExpiresAt },
      predecessor,
    );
    const now = Math.floor(nowMs / 1000);
    const expiresIn = Math.max(0, newest.expiresAt - now);
    return {
      accessToken,
      refreshToken,
      sessionId,
      expiresAt: newest.expiresAt,
      expiresIn,
      refreshExpiresAt,
      refreshExpiresIn: refreshExpiresAt - now,
      scopes,
      persistent,
      response: {
        access_token: accessToken,
        token_type: "Bearer",
        expires_in: expiresIn,
        refresh_token: refreshToken,
        ...(scopes.length === 0 ? {} : { scope: scopes.join(" ") }),
      },
    };
  };
}
