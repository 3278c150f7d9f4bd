import { TwoGenerationCache } from "../lib/two-generation-cache.js";

/** An entry of the cache. */
export interface Tokened {
  readonly token: string;
}

/** Characters of a token that make the key of its entry. The last ones belong to the signature and differ between tokens. */
const keyedLength = 8;
/** Maximum characters of all cached tokens together, which bounds the memory for large tokens. */
const maxCharacters = 16 * 1024 * 1024;

/**
 * Cache of verified tokens of one verifier, so that a signature is checked once. An entry is found by the end of the token and
 * used only if the whole token is equal; of two tokens with one key, the later one is kept. Expiry, not-before and revocation
 * are checked again at every request.
 */
export class TokenCache<Entry extends Tokened> {
  readonly #entries: TwoGenerationCache<number, Entry>;
  /** The entry of the last look-up: a request looks twice. */
  #last: Entry | undefined;

  constructor(size: number) {
    this.#entries = new TwoGenerationCache({
      max: size,
      maxWeight: maxCharacters,
      weightOf: ({ token }) => token.length,
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  get(token: string): Entry | undefined {
    if (this.#last?.token === token) return this.#last;
    const entry = this.#entries.get(keyOf(token));
    if (entry === undefined || entry.token !== token) return undefined;
    this.#last = entry;
    return entry;
  }

  set(entry: Entry): void {
    this.#last = entry;
    this.#entries.set(keyOf(entry.token), entry);
  }

  delete(entry: Entry): void {
    if (this.#last === entry) this.#last = undefined;
    this.#entries.delete(keyOf(entry.token));
  }

  clear(): void {
    this.#last = undefined;
    this.#entries.clear();
  }
}

/** A number, since a map finds numbers several times faster than the end of a text. */
function keyOf(token: string): number {
  let key = 0;
  for (let at = Math.max(0, token.length - keyedLength); at < token.length; at += 1)
    key = (Math.imul(key, 31) + token.charCodeAt(at)) | 0;
  return key;
}
