import { LRUCache } from "lru-cache";
import type { VerifiedToken } from "./verifier.js";

/** How much of a token finds its entry. The last characters belong to the signature, so they differ between tokens. */
const tailLength = 32;
/** Most characters of all tokens kept, so that large tokens do not take more memory than many. */
const maxCharacters = 8 * 1024 * 1024;

/**
 * Tokens that were verified, so that a signature is checked once and not at every request. Exact: an entry is found by the
 * token's tail and used only if the whole token is equal. It belongs to one verifier. What may have changed since, expiry,
 * not-before and revocation, is checked again on every hit by those who know.
 */
export class TokenCache {
  readonly #entries: LRUCache<string, VerifiedToken>;

  constructor(size: number) {
    this.#entries = new LRUCache({
      max: size,
      maxSize: maxCharacters,
      sizeCalculation: ({ auth }) => auth.token.length,
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  get(token: string): VerifiedToken | undefined {
    const entry = this.#entries.get(token.slice(-tailLength));
    return entry !== undefined && entry.auth.token === token ? entry : undefined;
  }

  set(entry: VerifiedToken): void {
    this.#entries.set(entry.auth.token.slice(-tailLength), entry);
  }

  delete(entry: VerifiedToken): void {
    this.#entries.delete(entry.auth.token.slice(-tailLength));
  }

  clear(): void {
    this.#entries.clear();
  }
}
