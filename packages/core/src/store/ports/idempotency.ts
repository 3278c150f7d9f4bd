import type { StoreFault } from "./fault.js";

/** A claim on a key: the right of one request to run its handler. */
export interface IdempotencyClaim {
  readonly key: string;
  /** Random text, made by the caller: a call whose reply was lost may be repeated. */
  readonly owner: string;
  /** Digest of the request: letters, digits, `_` and `-`. */
  readonly fingerprint: string;
  readonly leaseMs: number;
  /** Will the caller wait for the owner of the key, if there is one? */
  readonly waits: boolean;
}

/**
 * The answer to a claim. `claimed`: the caller is the owner, also if it was before. `running`: another request is, for
 * `leftMs` at least. `completed`: the stored response. `mismatch`: the key belongs to a request with another
 * fingerprint.
 */
export type ClaimAnswer =
  | { readonly state: "claimed" | "mismatch" }
  | { readonly state: "running"; readonly leftMs: number }
  | { readonly state: "completed"; readonly response: string };

/** The response to the request of a claim. */
export interface IdempotencyCompletion {
  readonly key: string;
  readonly fingerprint: string;
  readonly response: string;
  readonly ttlMs: number;
}

/** The records of requests with an Idempotency-Key. A record is a lease of its owner at first, and a response later. */
export interface IdempotencyStore {
  /** Takes the key if it is free, and begins the lease of its owner anew. */
  claim(claim: IdempotencyClaim): Promise<ClaimAnswer | StoreFault>;
  /**
   * Stores a response. The first response of a fingerprint stays; it takes the place of any lease on that fingerprint. A
   * key that another request has taken meanwhile stays with that request.
   */
  complete(completion: IdempotencyCompletion): Promise<StoreFault | undefined>;
  /** Ends the lease of this owner. Does nothing for any other record. */
  release(claim: Pick<IdempotencyClaim, "key" | "owner">): Promise<StoreFault | undefined>;
  /**
   * Calls the listener whenever the record may have changed, if a claim with `waits` came before. Returns a function that
   * removes the listener.
   */
  watch(key: string, listener: () => void): () => void;
}

/** The listeners of this process by the key of a record. */
export class RecordWatchers {
  readonly #listeners = new Map<string, Set<() => void>>();

  add(key: string, listener: () => void): () => void {
    const known = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, known.add(listener));
    return () => {
      known.delete(listener);
      if (known.size === 0 && this.#listeners.get(key) === known) this.#listeners.delete(key);
    };
  }

  notify(key: string): void {
    for (const listener of [...(this.#listeners.get(key) ?? [])]) listener();
  }

  /** Messages may have been lost. */
  notifyAll(): void {
    for (const key of [...this.#listeners.keys()]) this.notify(key);
  }
}
