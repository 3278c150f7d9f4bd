import { TwoGenerationCache } from "../lib/two-generation-cache.js";

/** An entry of the cache. */
export interface Tokened {
  readonly auth: { readonly token: string };
}

/** Characters of a token that are the key of its entry. The last ones belong to the signature and differ between tokens. */
const tailLength = 32;
/** Maximum characters of all cached tokens together, which bounds the memory for large tokens. */
const maxCharacters = 16 * 1024 * 1024;

/**
 * Cache of verified tokens of one verifier, so that a signature is checked once. An entry is found by the end of the token and
 * used only if the whole token is equal. Expiry, not-before and revocation are checked again at every request.
 */
export class TokenCache<Entry extends Tokened> {
  readonly #entries: TwoGenerationCache<string, Entry>;
  /** The entry of the last look-up: a request looks twice. */
  #last: Entry | undefined;

  constructor(size: number) {
    this.#entries = new TwoGenerationCache({
      max: size,
      maxWeight: maxCharacters,
      weightOf: ({ auth }) => auth.token.length,
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  get(token: string): Entry | undefined {
    if (this.#last?.auth.token === token) return this.#last;
    const entry = this.#entries.get(token.slice(-tailLength));
    if (entry === undefined || entry.auth.token !== token) return undefined;
    this.#last = entry;
    return entry;
  }

  set(entry: Entry): void {
    this.#last = entry;
    this.#entries.set(entry.auth.token.slice(-tailLength), entry);
  }

  delete(entry: Entry): void {
    if (this.#last === entry) this.#last = undefined;
    this.#entries.delete(entry.auth.token.slice(-tailLength));
  }

  clear(): void {
    this.#last = undefined;
    this.#entries.clear();
  }
}
