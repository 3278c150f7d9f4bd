import { LRUCache } from "lru-cache";

/** What an entry must tell of itself. */
export interface Tokened {
  readonly auth: { readonly token: string };
}

/** How much of a token finds its entry. The last characters belong to the signature, so they differ between tokens. */
const tailLength = 32;
/** Most characters of all tokens kept, so that large tokens do not take more memory than many. */
const maxCharacters = 8 * 1024 * 1024;

/**
 * Tokens that were verified, so that a signature is checked once and not at every request. Exact: an entry is found by the
 * token's tail and used only if the whole token is equal. It belongs to one verifier. What may have changed since, expiry,
 * not-before and revocation, is checked again on every hit by those who know.
 */
export class TokenCache<Entry extends Tokened> {
  readonly #entries: LRUCache<string, Entry>;

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

  get(token: string): Entry | undefined {
    const entry = this.#entries.get(token.slice(-tailLength));
    return entry !== undefined && entry.auth.token === token ? entry : undefined;
  }

  set(entry: Entry): void {
    this.#entries.set(entry.auth.token.slice(-tailLength), entry);
  }

  delete(entry: Entry): void {
    this.#entries.delete(entry.auth.token.slice(-tailLength));
  }

  clear(): void {
    this.#entries.clear();
  }
}
