import type { Auth } from "../auth/claims.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Region } from "./regions.js";

/** The memo of one key: the value that the request has read or written. */
export interface MemoCell {
  readonly promise: Promise<unknown>;
  /** Undefined until the read has ended. */
  isHit: boolean | undefined;
}

/** The sender of a request as its gates know it now: that may change with every check. */
export interface RequestSender {
  /** The user whom handlers see, as its gate knows it. */
  readonly shown: {
    readonly facts: { readonly auth: Auth | undefined };
    readonly verified: Pick<VerifiedToken, "issuers"> | undefined;
  };
}

/** The state that all views of one request share: user, signal, memo. Cheap to create, since most requests do not read. */
export class RequestScope {
  readonly #sender: RequestSender | undefined;
  readonly #source: { readonly signal: AbortSignal } | undefined;
  readonly #hasMemo: boolean;
  #memos: Map<string, Map<string, MemoCell>> | undefined;
  #pending: Map<string, Promise<unknown>> | undefined;

  /** Without a sender it stands for calls outside requests: nobody is signed in. */
  constructor(
    sender: RequestSender | undefined,
    source: { readonly signal: AbortSignal } | undefined,
    hasMemo: boolean,
  ) {
    this.#sender = sender;
    this.#source = source;
    this.#hasMemo = hasMemo;
  }

  get auth(): Auth | undefined {
    return this.#sender?.shown.facts.auth;
  }

  /** The issuers of the gate that verified the token; undefined without a token. */
  get issuers(): IssuerScope | undefined {
    return this.#sender?.shown.verified?.issuers;
  }

  /** Aborted when the request ends. */
  get signal(): AbortSignal | undefined {
    return this.#source?.signal;
  }

  /** Pending calls of getOrSet, by the prefix of the region and the key. */
  get pending(): Map<string, Promise<unknown>> {
    return (this.#pending ??= new Map());
  }

  /** The memo of a region, by key; undefined where the cache has no memo. */
  memoOf({ prefix }: Region): Map<string, MemoCell> | undefined {
    if (!this.#hasMemo) return undefined;
    this.#memos ??= new Map();
    const known = this.#memos.get(prefix);
    if (known !== undefined) return known;
    const made = new Map<string, MemoCell>();
    this.#memos.set(prefix, made);
    return made;
  }

  /** Clears the memo of all regions. */
  clear(): void {
    for (const memo of this.#memos?.values() ?? []) memo.clear();
    this.#pending?.clear();
  }
}
