import { LRUCache } from "lru-cache";
import type { Auth } from "../auth/claims.js";
import { checkIdentifying, claimAt, identifyingText } from "../auth/identifying-claim.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import { checkInteger, checkObject } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { RevokeOptions, DecisionStore, TokenQuestion } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { CutoffRules } from "./cutoffs.js";

/** What names a token: the `auth` of a request, or the parts of it that matter. Without `jti` the token itself is needed. */
export interface NamedToken {
  readonly jti?: string | undefined;
  readonly token?: string | undefined;
  /** Matters where there are several issuers. */
  readonly issuer?: string | undefined;
}

/** A token to revoke, until it is dead by itself. */
export interface RevocableToken extends NamedToken {
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** A token to ask about. */
export interface CheckableToken extends NamedToken {
  /** Whose cut-off to compare with. */
  readonly principal?: string | undefined;
  /** The session whose cut-off to compare with: its `sid`. */
  readonly sessionId?: string | undefined;
  /** Where the organisation is whose cut-off to compare with. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
  /** Unix seconds. */
  readonly issuedAt?: number | undefined;
}

/** Ends tokens before their time. Every method rejects with a {@link StoreFault} (503) if the store cannot do it. */
export interface Revocations {
  /**
   * Revokes one token. Resolves only when the store has recorded it; a token already expired needs no record.
   * Rejects with a TypeError if there is nothing to revoke: an anonymous request's `auth` is undefined. With `replicas` it
   * resolves only when so many replicas have the record too, so that it outlives a failover; not in Cluster.
   */
  revoke(token: RevocableToken | undefined, options?: RevokeOptions): Promise<void>;
  /**
   * Revokes every token of a subject issued up to now, by the store's clock, tokens without `iat` included.
   * Resolves to the cut-off in unix seconds: a token is revoked if its `iat` is at or before it, or of another issuer
   * than `tokens` up to `revocation.cutoffMargin` later. Where there are several
   * issuers, pass `auth` or its `principal`: a bare `sub` may be somebody else's with another of them.
   */
  revokeSubject(subject: string | Pick<Auth, "principal">): Promise<number>;
  /** Is this token revoked, by itself or by a cut-off? */
  isRevoked(token: CheckableToken): Promise<boolean>;
}

export interface RevocationServiceOptions {
  readonly store: DecisionStore;
  readonly keys: Keyspace;
  readonly issuers: IssuerScope;
  /** Records outlive the token by this much, so that another service's clock tolerance does not revive it. */
  readonly marginSeconds: number;
  readonly cutoffs: CutoffRules;
  /** The claim that names the organisation a token is for. */
  readonly orgClaim: string;
  /** Told of what has ended. */
  readonly events: { announce(ending: TokenEnding): void };
  /** Unix milliseconds. */
  readonly now: () => number;
}

type TokenEnding =
  | { readonly reason: "token"; readonly issuer: string; readonly jti: string }
  | { readonly reason: "all"; readonly principal: string; readonly cutoff: number };

/** Ten years: against milliseconds that are taken for seconds. */
const maxRecordSeconds = 10 * 366 * 86_400;

/** Revocation by `auth:revoked:<jti>` and by a cut-off time for each subject. */
export class RevocationService implements Revocations {
  readonly #options: RevocationServiceOptions;
  /** What this process knows to be revoked, for the time the store is away and an allowance is configured. */
  readonly #known = new LRUCache<string, true>({ max: 10_000 });

  constructor(options: RevocationServiceOptions) {
    this.#options = options;
  }

  async revoke(token: RevocableToken | undefined, options: RevokeOptions = {}): Promise<void> {
    checkObject("revoke()", options, ["replicas"]);
    if (options.replicas !== undefined) checkInteger("revoke().replicas", options.replicas, 0, 100);
    const { store, issuers, marginSeconds, events, now } = this.#options;
    checkToken("revoke()", token);
    issuers.checkToken(token);
    if (typeof token.expiresAt !== "number" || Number.isNaN(token.expiresAt)) {
      throw new TypeError("revoke() needs expiresAt, the exp of the token in unix seconds");
    }
    // Not by maxLifetime: one without `iat` is too long-lived today, and is not any more when little of its life is left.
    const latest = now() / 1000 + maxRecordSeconds;
    const expiresAt = Math.ceil(Math.min(token.expiresAt, latest)) + marginSeconds;
    await this.#options.keys.settled();
    const key = this.#recordKey(token);
    await store.revoke(key, expiresAt, options);
    this.#known.set(key, true);
    if (token.jti !== undefined)
      events.announce({ reason: "token", issuer: issuers.digestFor(token.issuer), jti: token.jti });
  }

  async revokeSubject(subject: string | Pick<Auth, "principal">): Promise<number> {
    const { store, keys, issuers, cutoffs, events } = this.#options;
    const principal: unknown = isObject(subject) ? issuers.principalOf(subject) : subject;
    if (typeof principal !== "string" || principal === "")
      throw new TypeError("revokeSubject() needs a subject: a non-empty string, or the auth of a request");
    issuers.checkPrincipal(principal);
    await keys.settled();
    const cutoff = await store.cutOff(keys.subjectCutoff(principal), cutoffs.lifeSeconds);
    events.announce({ reason: "all", principal, cutoff });
    return cutoff;
  }

  async isRevoked(token: CheckableToken): Promise<boolean> {
    checkCheckable(token);
    this.#options.issuers.checkToken(token);
    await this.#options.keys.settled();
    const answer = await this.#options.store.ask({ beforeToken: [], token: this.questionFor(token), afterToken: [] });
    if (answer instanceof StoreFault) throw answer;
    if (answer.revoked instanceof StoreFault) throw answer.revoked;
    return answer.revoked === true;
  }

  /** A TypeError for a token that does not say rightly which organisation it is for. */
  questionFor(token: CheckableToken): TokenQuestion {
    return {
      revokedKey: this.#recordKey(token),
      cutoffKeys: this.#cutoffKeys(token),
      issuedAt: this.#options.cutoffs.comparable(token),
    };
  }

  /** The fault instead while nobody knows under which key the token is revoked. */
  questionOrFault(token: CheckableToken): TokenQuestion | StoreFault {
    try {
      return this.questionFor(token);
    } catch (error) {
      if (error instanceof StoreFault) return error;
      throw error;
    }
  }

  /** Remembers what the store said, for the time it is away. */
  remember({ revokedKey }: TokenQuestion): void {
    this.#known.set(revokedKey, true);
  }

  isKnownRevoked({ revokedKey }: TokenQuestion): boolean {
    return this.#known.has(revokedKey);
  }

  /** The cut-offs of the user, of the session and of the organisation, as far as the token names them. */
  #cutoffKeys({ principal = "", sessionId = "", issuer, claims }: CheckableToken): string[] {
    const { keys, issuers, orgClaim } = this.#options;
    const org = claims === undefined ? undefined : claimAt(claims, orgClaim);
    const cutoffs = principal === "" ? [] : [keys.subjectCutoff(principal)];
    if (sessionId !== "") cutoffs.push(keys.sessionCutoff(issuers.qualify(issuer, sessionId)));
    if (identifyingText(org) !== undefined)
      cutoffs.push(keys.groupCutoff(issuers.qualify(issuer, checkIdentifying(`the claim ${orgClaim}`, org))));
    return cutoffs;
  }

  #recordKey({ jti, token, issuer }: NamedToken): string {
    const { keys, issuers } = this.#options;
    if (typeof jti === "string" && jti !== "") return keys.revokedToken(issuers.qualify(issuer, jti));
    const dot = typeof token === "string" ? token.lastIndexOf(".") : -1;
    if (jti !== undefined || token === undefined || dot === -1) {
      throw new TypeError("a token is identified by its jti, a non-empty string, or else by the token itself");
    }
    return keys.revokedInput(token.slice(0, dot), issuer);
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** An anonymous request has no `auth`: nothing is revoked, and nobody may think that it was. */
function checkToken(method: string, token: unknown): asserts token is object {
  if (token === undefined || token === null)
    throw new TypeError(`${method} needs a token, such as the auth of a request, but nobody is signed in`);
  if (!isObject(token))
    throw new TypeError(
      `${method} needs the auth of a request, or { jti } or { token } with its parts, not a ${typeof token}`,
    );
}

/** A part that cannot be compared with a cut-off would be passed over, and the token would count as not revoked. */
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
