/** Options of cut-offs. */
export interface CutoffOptions {
  /** Maximum `exp - iat` of a token. */
  readonly maxLifetimeSeconds: number;
  /** Time for which a record outlives its token. */
  readonly marginSeconds: number;
  /** Maximum time that the clock of another issuer may be ahead of the clock of the store. */
  readonly cutoffMarginSeconds: number;
  /** Issuer of the tokens of this gate, whose `iat` comes from the store; undefined if the gate issues none. */
  readonly ownIssuer: string | undefined;
}

/** The issue time and the issuer of a token. */
interface Issued {
  /** `iat`, unix seconds. */
  readonly issuedAt?: number | undefined;
  readonly issuer?: string | undefined;
}

/**
 * Compares tokens with cut-offs. A cut-off is a time in whole seconds by the clock of the store, and revokes tokens of its whole
 * second. The `iat` of a token is by the clock of its issuer. If that clock is ahead, tokens issued before "log out everywhere"
 * would look newer for all their life. So the `iat` of another issuer counts as earlier by a margin.
 */
export class CutoffRules {
  /** Life of a cut-off in seconds: longer than every token that it revokes. */
  readonly lifeSeconds: number;
  readonly #marginSeconds: number;
  readonly #ownIssuer: string | undefined;

  constructor({ maxLifetimeSeconds, marginSeconds, cutoffMarginSeconds, ownIssuer }: CutoffOptions) {
    this.#marginSeconds = Math.ceil(cutoffMarginSeconds);
    this.#ownIssuer = ownIssuer;
    this.lifeSeconds = Math.ceil(maxLifetimeSeconds) + marginSeconds + this.#marginSeconds;
  }

  /** Does this gate issue the tokens of this issuer? An absent issuer means the only or the shared one. */
  isOwn(issuer: string | undefined): boolean {
    return this.#ownIssuer !== undefined && (issuer === undefined || issuer === this.#ownIssuer);
  }

  /** The time to compare with cut-offs, in unix seconds; undefined for a token without `iat`, which every cut-off revokes. */
  comparable({ issuedAt, issuer }: Issued): number | undefined {
    if (issuedAt === undefined) return undefined;
    return Math.floor(issuedAt) - (this.isOwn(issuer) ? 0 : this.#marginSeconds);
  }

  revokes(cutoff: number, token: Issued): boolean {
    const time = this.comparable(token);
    return time === undefined || time <= cutoff;
  }
}
