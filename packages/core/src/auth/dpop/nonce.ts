import { createHmac, timingSafeEqual } from "node:crypto";

/** Time for which a nonce is current. It is accepted for the same time after that. */
const periodMs = 5 * 60_000;

/**
 * Nonces for DPoP proofs (RFC 9449 8, 9) without state: an HMAC of the time. All processes with the same secret have the same
 * nonces, and nobody else can predict them.
 */
export class DpopNonces {
  readonly #secret: string;
  /** Unix milliseconds. */
  readonly #now: () => number;
  #period = Number.NaN;
  #current = "";
  #previous = "";

  constructor(secret: string, now: () => number) {
    this.#secret = secret;
    this.#now = now;
  }

  current(): string {
    this.#rotate();
    return this.#current;
  }

  /** `stale`: still accepted, but the client should use the current nonce next. */
  judge(nonce: string): "current" | "stale" | "unknown" {
    this.#rotate();
    if (isEqual(nonce, this.#current)) return "current";
    return isEqual(nonce, this.#previous) ? "stale" : "unknown";
  }

  #rotate(): void {
    const period = Math.floor(this.#now() / periodMs);
    if (period === this.#period) return;
    this.#period = period;
    this.#current = this.#make(period);
    this.#previous = this.#make(period - 1);
  }

  #make(period: number): string {
    return createHmac("sha256", this.#secret).update(`dpop-nonce ${period}`).digest("base64url").slice(0, 32);
  }
}

function isEqual(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}
