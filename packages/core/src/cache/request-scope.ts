import type { Auth } from "../auth/claims.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { Facts } from "../http/exchange.js";
import type { Region } from "./regions.js";

/** What a request has read or written under one key. */
export interface MemoCell {
  readonly promise: Promise<unknown>;
  /** Undefined until it is known. */
  isHit: boolean | undefined;
}

/** What all views of one request share; cheap to make, since most requests never ask. */
export class RequestScope {
  readonly #facts: Facts | undefined;
  readonly #source: { readonly signal: AbortSignal } | undefined;
  readonly #hasMemo: boolean;
  #memos: Map<string, Map<string, MemoCell>> | undefined;
  #pending: Map<string, Promise<unknown>> | undefined;

  /** Without facts it is no request: nobody is signed in. */
  constructor(facts: Facts | undefined, source: { readonly signal: AbortSignal } | undefined, hasMemo: boolean) {
    this.#facts = facts;
    this.#source = source;
    this.#hasMemo = hasMemo;
  }

  get auth(): Auth | undefined {
    return this.#facts?.auth;
  }

  /** Those of the gate that found out who is asking; undefined if nobody is, and outside requests. */
  get issuers(): IssuerScope | undefined {
    return this.#facts?.verified?.issuers;
  }

  /** Ends with the request. */
  get signal(): AbortSignal | undefined {
    return this.#source?.signal;
  }

  /** Calls of getOrSet under way, by name in the local tier. */
  get pending(): Map<string, Promise<unknown>> {
    return (this.#pending ??= new Map());
  }

  /** What the request remembers of a place, by key; undefined if it remembers nothing. */
  memoOf({ prefix }: Region): Map<string, MemoCell> | undefined {
    if (!this.#hasMemo) return undefined;
    this.#memos ??= new Map();
    const known = this.#memos.get(prefix);
    if (known !== undefined) return known;
    const made = new Map<string, MemoCell>();
    this.#memos.set(prefix, made);
    return made;
  }

  /** Everything it remembers may be gone. */
  clear(): void {
    for (const memo of this.#memos?.values() ?? []) memo.clear();
    this.#pending?.clear();
  }
}
