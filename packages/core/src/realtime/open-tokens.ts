import type { Auth } from "../auth/claims.js";
import type { TokenQuestion } from "../store/ports/decisions.js";

/** An owner of a token: an open connection. */
export interface TokenHolder {
  /** The token, or the session of the token, has ended. */
  lose(reason: "expired" | "revoked" | "session_ended"): void;
}

/** A token that open connections have. A thousand connections of one token are asked about once. */
export class OpenToken {
  readonly auth: Auth;
  /** Unix milliseconds. */
  readonly endsAt: number;
  /** Undefined while the keys of its records are unknown, and where revocation is off. */
  question: TokenQuestion | undefined = undefined;
  /** Must the keys be made again? */
  isPresumed: boolean = true;
  readonly holders: Set<TokenHolder> = new Set();

  constructor(auth: Auth, endsAt: number) {
    this.auth = auth;
    this.endsAt = endsAt;
  }

  /** All holders lose their token. A holder may open another connection meanwhile. */
  end(reason: "expired" | "revoked" | "session_ended"): void {
    for (const holder of [...this.holders]) holder.lose(reason);
  }
}

/** The tokens of all open connections, by token and by the keys of their records. */
export class OpenTokens {
  readonly #tokens = new Map<string, OpenToken>();
  readonly #byKey = new Map<string, Set<OpenToken>>();
  /** All keys, until one comes or goes. */
  #keys: readonly string[] | undefined;

  all(): IterableIterator<OpenToken> {
    return this.#tokens.values();
  }

  get(token: string): OpenToken | undefined {
    return this.#tokens.get(token);
  }

  add(token: OpenToken): void {
    this.#tokens.set(token.auth.token, token);
  }

  /** Forgets a token without holders. */
  remove(token: OpenToken): void {
    if (this.#tokens.get(token.auth.token) === token) this.#tokens.delete(token.auth.token);
    this.#unlink(token);
  }

  /** Sets the keys of a token. */
  link(token: OpenToken, question: TokenQuestion | undefined): void {
    this.#unlink(token);
    token.question = question;
    for (const key of keysOf(token)) {
      const tokens = this.#byKey.get(key);
      if (tokens === undefined) this.#byKey.set(key, new Set([token]));
      else tokens.add(token);
    }
    this.#keys = undefined;
  }

  /** The tokens with a record under this key. A copy, since tokens may end meanwhile. */
  with(key: string): readonly OpenToken[] {
    return [...(this.#byKey.get(key) ?? [])];
  }

  /** Are the keys of all tokens known? */
  get areLinked(): boolean {
    for (const { question } of this.#tokens.values()) if (question === undefined) return false;
    return true;
  }

  /** All keys: those of records first, since many cut-offs exist that revoke no token of today. */
  keys(): readonly string[] {
    if (this.#keys !== undefined) return this.#keys;
    const records = new Set<string>();
    for (const { question } of this.#tokens.values()) if (question !== undefined) records.add(question.revokedKey);
    const keys = [...records];
    for (const key of this.#byKey.keys()) if (!records.has(key)) keys.push(key);
    this.#keys = keys;
    return keys;
  }

  #unlink(token: OpenToken): void {
    for (const key of keysOf(token)) {
      const tokens = this.#byKey.get(key);
      tokens?.delete(token);
      if (tokens?.size === 0) this.#byKey.delete(key);
    }
    token.question = undefined;
    this.#keys = undefined;
  }
}

/** The keys of the records of a token. */
export function keysOf({ question }: OpenToken): readonly string[] {
  return question === undefined ? [] : [question.revokedKey, ...question.cutoffKeys];
}
