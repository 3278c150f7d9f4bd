import type { Auth } from "../auth/claims.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Region } from "./regions.js";

/** What a request has read or written under one key. */
export interface MemoCell {
  readonly promise: Promise<unknown>;
  /** Undefined until it is known. */
  isHit: boolean | undefined;
}

/** The sender of a request as its gate knows it now: that may change with every check. */
export interface RequestSender {
  readonly facts: { readonly auth: Auth | undefined };
  readonly verified: Pick<VerifiedToken, "issuers"> | undefined;
}

/** What all views of one request share; cheap to make, since most requests never ask. */
export class RequestScope {
  readonly #sender: RequestSender | undefined;
  readonly #source: { readonly signal: AbortSignal } | undefined;
  readonly #remembers: boolean;
  #memos: Map<string, Map<string, MemoCell>> | undefined;
  #making: Map<string, Promise<unknown>> | undefined;

  /** Without a sender it is no request: nobody is signed in. */
  constructor(
    sender: RequestSender | undefined,
    source: { readonly signal: AbortSignal } | undefined,
    remembers: boolean,
  ) {
    this.#sender = sender;
    this.#source = source;
    this.#remembers = remembers;
  }

  get auth(): Auth | undefined {
    return this.#sender?.facts.auth;
  }

  /** Those of the gate that found out who is asking; undefined if nobody is, and outside requests. */
  get issuers(): IssuerScope | undefined {
    return this.#sender?.verified?.issuers;
  }

  /** Ends with the request. */
  get signal(): AbortSignal | undefined {
    return this.#source?.signal;
  }

  /** Calls of getOrSet under way, by name in the local tier. */
  get making(): Map<string, Promise<unknown>> {
    return (this.#making ??= new Map());
  }

  /** What the request remembers of a place, by key; undefined if it remembers nothing. */
  memoOf({ prefix }: Region): Map<string, MemoCell> | undefined {
    if (!this.#remembers) return undefined;
    this.#memos ??= new Map();
    const known = this.#memos.get(prefix);
    if (known !== undefined) return known;
    const made = new Map<string, MemoCell>();
    this.#memos.set(prefix, made);
    return made;
  }

  /** Everything it remembers may be gone. */
  forget(): void {
    for (const memo of this.#memos?.values() ?? []) memo.clear();
    this.#making?.clear();
  }
}
