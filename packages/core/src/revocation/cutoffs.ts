/** What of the options decides about cut-offs. */
export interface CutoffOptions {
  /** Longest `exp - iat` of a token. */
  readonly maxLifetimeSeconds: number;
  /** How long a record outlives its token. */
  readonly marginSeconds: number;
  /** How far the clock of an issuer other than ours may be ahead of the store's. */
  readonly cutoffMarginSeconds: number;
  /** The issuer whose tokens take their `iat` from the store's clock; undefined where none are issued here. */
  readonly ownIssuer: string | undefined;
}

/** When a token was issued, and by whom. */
interface Issued {
  /** `iat`, unix seconds. */
  readonly issuedAt?: number | undefined;
  readonly issuer?: string | undefined;
}

/**
 * How a token compares with a cut-off. A cut-off is in whole seconds by the store's clock and ends its whole second. A token's
 * `iat` is by its issuer's clock: where that is ahead, tokens issued before "log out everywhere" say that they are later,
 * for the whole of their life. So the `iat` of another issuer is taken for earlier by a margin.
 */
export class CutoffRules {
  /** How long a cut-off is kept, in seconds: longer than any token that it revokes. */
  readonly lifeSeconds: number;
  readonly #marginSeconds: number;
  readonly #ownIssuer: string | undefined;

  constructor({ maxLifetimeSeconds, marginSeconds, cutoffMarginSeconds, ownIssuer }: CutoffOptions) {
    this.#marginSeconds = Math.ceil(cutoffMarginSeconds);
    this.#ownIssuer = ownIssuer;
    this.lifeSeconds = Math.ceil(maxLifetimeSeconds) + marginSeconds + this.#marginSeconds;
  }

  /** Is this the issuer whose tokens are issued here? One that is not named is: it is the only or the shared one. */
  isOwn(issuer: string | undefined): boolean {
    return this.#ownIssuer !== undefined && (issuer === undefined || issuer === this.#ownIssuer);
  }

  /** What cut-offs are compared with, in unix seconds; undefined for a token without `iat`, which every cut-off revokes. */
  comparable({ issuedAt, issuer }: Issued): number | undefined {
    if (issuedAt === undefined) return undefined;
    return Math.floor(issuedAt) - (this.isOwn(issuer) ? 0 : this.#marginSeconds);
  }

  revokes(cutoff: number, token: Issued): boolean {
    const time = this.comparable(token);
    return time === undefined || time <= cutoff;
  }
}
