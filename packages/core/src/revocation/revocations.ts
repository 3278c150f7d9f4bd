import { GrowingLru } from "../lib/growing-lru.js";
import type { Auth } from "../auth/claims.js";
import { checkIdentifying, claimAt, identifyingText, showClaim } from "../auth/identifying-claim.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import { checkInteger, checkObject } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { DecisionStore, QuestionNote, TokenQuestion } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import type { RevocationStore, RevokeOptions } from "../store/ports/revocation.js";
import { recordEnd } from "../store/ports/revocation.js";
import type { AuditTrail } from "../telemetry/audit.js";
import type { CutoffRules } from "./cutoffs.js";

/** Identifies a token: the `auth` of a request, or parts of it. Without `jti` the token itself is needed. */
export interface NamedToken {
  /** Claim `jti` of the token. @default none */
  readonly jti?: string | undefined;
  /** The compact token. @default none */
  readonly token?: string | undefined;
  /** Claim `iss`. Required if the gate has several issuers. */
  readonly issuer?: string | undefined;
}

/** A token to revoke: argument of `revoke()`. */
export interface RevocableToken extends NamedToken {
  /** Claim `exp`, unix seconds. */
  readonly expiresAt: number;
}

/** A token to check: argument of `isRevoked()`. */
export interface CheckableToken extends NamedToken {
  /** User whose cut-off applies. */
  readonly principal?: string | undefined;
  /** Session whose cut-off applies: claim `sid`. */
  readonly sessionId?: string | undefined;
  /** Claims with the organisation whose cut-off applies. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
  /** Claim `iat`, unix seconds. */
  readonly issuedAt?: number | undefined;
}

/** Revokes tokens. Every method rejects with a {@link StoreFault} (503) if the store cannot do it. */
export interface Revocations {
  /**
   * Revokes one token. Resolves when the store has recorded it; an expired token needs no record. Rejects with a TypeError
   * without a token, such as the undefined `auth` of an anonymous request. With `replicas` it resolves only when this number of
   * replicas has the record too, so that the record outlives a failover; not in Cluster.
   */
  revoke(token: RevocableToken | undefined, options?: RevokeOptions): Promise<void>;
  /**
   * Revokes all tokens of a subject that were issued up to now by the clock of the store, and its tokens without `iat`.
   * Resolves to the cut-off in unix seconds. A token is revoked if its `iat` is not later than the cut-off; for tokens of another
   * issuer than `tokens`, not later than `revocation.cutoffMargin` after it. With several issuers, pass `auth` or its
   * `principal`: a bare `sub` may name another user at another issuer.
   */
  revokeSubject(subject: string | Pick<Auth, "principal">): Promise<number>;
  /** Resolves to true if the token is revoked, by a record of its own or by a cut-off. */
  isRevoked(token: CheckableToken): Promise<boolean>;
}

export interface RevocationServiceOptions {
  readonly store: RevocationStore;
  readonly decisions: DecisionStore;
  readonly keyspace: Keyspace;
  readonly issuers: IssuerScope;
  /** Time for which records outlive the token, so that the clock tolerance of another service does not revive it. */
  readonly marginSeconds: number;
  readonly cutoffs: CutoffRules;
  /** The claim that names the organisation of a token. */
  readonly orgClaim: string;
  /** Publishes revocations. */
  readonly events: { publish(ending: TokenEnd): void };
  /** @default none */
  readonly audit?: AuditTrail | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The question about one token, for all requests that carry it, and the local answer to it, in one object. */
class KeptQuestion implements TokenQuestion, QuestionNote {
  readonly note: QuestionNote = this;
  writer: object | undefined = undefined;
  generation = 0;
  until = 0;

  readonly revokedKey: string;
  readonly cutoffKeys: readonly string[];
  readonly issuedAt: number | undefined;

  constructor({ revokedKey, cutoffKeys, issuedAt }: TokenQuestion) {
    this.revokedKey = revokedKey;
    this.cutoffKeys = cutoffKeys;
    this.issuedAt = issuedAt;
  }
}

type TokenEnd =
  | { readonly reason: "token"; readonly issuer: string; readonly jti: string }
  | { readonly reason: "all"; readonly principal: string; readonly cutoff: number };

/** Maximum life of a record: ten years, in case the application passes milliseconds. */
export const maxRecordSeconds: number = 10 * 366 * 86_400;

/** Revocation by a record for each token (`auth:revoked:<jti>`) and a cut-off for each subject. */
export class RevocationService implements Revocations {
  readonly #options: RevocationServiceOptions;
  /** Tokens that this process knows to be revoked, for policies that allow tokens while the store is down. */
  readonly #known = new GrowingLru<string, true>({ max: 10_000 });

  constructor(options: RevocationServiceOptions) {
    this.#options = options;
  }

  async revoke(token: RevocableToken | undefined, options: RevokeOptions = {}): Promise<void> {
    checkObject("revoke()", options, ["replicas"]);
    if (options.replicas !== undefined) checkInteger("revoke().replicas", options.replicas, 0, 100);
    const { store, issuers, marginSeconds, events, audit, now } = this.#options;
    checkToken("revoke()", token);
    issuers.checkToken(token);
    if (typeof token.expiresAt !== "number" || Number.isNaN(token.expiresAt)) {
      throw new TypeError("revoke() needs expiresAt, the exp of the token in unix seconds");
    }
    // Not bounded by maxLifetime: a token without `iat` that lives too long today is accepted later, near its end.
    const latest = now() / 1000 + maxRecordSeconds;
    const expiresAt = recordEnd(Math.min(token.expiresAt, latest), marginSeconds);
    await this.#options.keyspace.resolved();
    const key = this.#recordKey(token);
    await store.revoke(key, expiresAt, options);
    this.#known.set(key, true);
    const { principal, sessionId, jti }: Partial<CheckableToken> = token;
    audit?.record({ type: "token_revoked", principal: namedText(principal), sessionId: namedText(sessionId), jti });
    if (token.jti !== undefined)
      events.publish({ reason: "token", issuer: issuers.digestFor(token.issuer), jti: token.jti });
  }

  async revokeSubject(subject: string | Pick<Auth, "principal">): Promise<number> {
    const { store, keyspace, issuers, cutoffs, events } = this.#options;
    const principal: unknown = isObject(subject) ? issuers.principalOf(subject) : subject;
    if (typeof principal !== "string" || principal === "")
      throw new TypeError("revokeSubject() needs a subject: a non-empty string, or the auth of a request");
    issuers.checkPrincipal(principal);
    await keyspace.resolved();
    const cutoff = await store.cutOff(keyspace.subjectCutoff(principal), cutoffs.lifeSeconds);
    events.publish({ reason: "all", principal, cutoff });
    return cutoff;
  }

  async isRevoked(token: CheckableToken): Promise<boolean> {
    checkCheckable(token);
    this.#options.issuers.checkToken(token);
    await this.#options.keyspace.resolved();
    const answer = await this.#options.decisions.ask({
      beforeToken: [],
      token: this.questionFor(token),
      afterToken: [],
    });
    if (answer instanceof StoreFault) throw answer;
    if (answer.revoked instanceof StoreFault) throw answer.revoked;
    return answer.revoked === true;
  }

  /** The question whether a token is revoked. Throws a TypeError if the claim of the organisation identifies nobody. */
  questionFor(token: CheckableToken): TokenQuestion {
    return new KeptQuestion({
      revokedKey: this.#recordKey(token),
      cutoffKeys: this.#cutoffKeys(token),
      issuedAt: this.#options.cutoffs.comparable(token),
    });
  }

  /** Like {@link questionFor}, but returns the fault while the key of the record is unknown. */
  questionOrFault(token: CheckableToken): TokenQuestion | StoreFault {
    try {
      return this.questionFor(token);
    } catch (error) {
      if (error instanceof StoreFault) return error;
      throw error;
    }
  }

  /** Remembers that a token is revoked, for the time when the store is down. */
  remember({ revokedKey }: TokenQuestion): void {
    this.#known.set(revokedKey, true);
  }

  forget({ revokedKey }: TokenQuestion): void {
    this.#known.delete(revokedKey);
  }

  isKnownRevoked({ revokedKey }: TokenQuestion): boolean {
    return this.#known.has(revokedKey);
  }

  /** The keys of the cut-offs of user, session and organisation that the token names. */
  #cutoffKeys({ principal = "", sessionId = "", issuer, claims }: CheckableToken): string[] {
    const { keyspace, issuers, orgClaim } = this.#options;
    const org = claims === undefined ? undefined : claimAt(claims, orgClaim);
    const cutoffs = principal === "" ? [] : [keyspace.subjectCutoff(principal)];
    if (sessionId !== "") cutoffs.push(keyspace.sessionCutoff(issuers.qualify(issuer, sessionId)));
    if (identifyingText(org) !== undefined)
      cutoffs.push(
        keyspace.groupCutoff(issuers.qualify(issuer, checkIdentifying(`the claim ${showClaim(orgClaim)}`, org))),
      );
    return cutoffs;
  }

  #recordKey({ jti, token, issuer }: NamedToken): string {
    const { keyspace, issuers } = this.#options;
    if (typeof jti === "string" && jti !== "") return keyspace.revokedToken(issuers.qualify(issuer, jti));
    const dot = typeof token === "string" ? token.lastIndexOf(".") : -1;
    if (jti !== undefined || token === undefined || dot === -1) {
      throw new TypeError("a token is identified by its jti, a non-empty string, or else by the token itself");
    }
    return keyspace.revokedInput(token.slice(0, dot), issuer);
  }
}

/** A part of `auth`, if the call has it. */
function namedText(text: unknown): string | undefined {
  return typeof text === "string" && text !== "" ? text : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** An anonymous request has no `auth`. Resolving without a revocation would mislead the caller. */
function checkToken(method: string, token: unknown): asserts token is object {
  if (token === undefined || token === null)
    throw new TypeError(`${method} needs a token, such as the auth of a request, but nobody is signed in`);
  if (!isObject(token))
    throw new TypeError(
      `${method} needs the auth of a request, or { jti } or { token } with its parts, not a ${typeof token}`,
    );
}

/** A part of a wrong type would be skipped, and the token would count as not revoked. */
function checkCheckable(token: CheckableToken): void {
  checkToken("isRevoked()", token);
  const { issuedAt, claims }: CheckableToken = token;
  for (const name of ["principal", "sessionId", "issuer"] as const) {
    const text: unknown = token[name];
    if (text !== undefined && typeof text !== "string") throw new TypeError(`isRevoked(): ${name} must be a string`);
  }
  if (issuedAt !== undefined && !Number.isFinite(issuedAt))
    throw new TypeError("isRevoked(): issuedAt must be a number, the iat of the token in unix seconds");
  if (claims !== undefined && !isObject(claims)) throw new TypeError("isRevoked(): claims must be an object");
}
