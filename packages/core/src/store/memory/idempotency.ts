import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../../lib/growing-lru.js";
import { monotonicNow } from "../../lib/real-timers.js";
import { lruClock, steadyNow } from "../../lib/steady-clock.js";
import { StoreFault } from "../ports/fault.js";
import type { ClaimAnswer, IdempotencyClaim, IdempotencyCompletion, IdempotencyStore } from "../ports/idempotency.js";
import { RecordWatchers } from "../ports/idempotency.js";

export interface MemoryIdempotencyOptions {
  /** Milliseconds of a clock that does not jump. */
  readonly now?: (() => number) | undefined;
  /** Maximum number of leases, and of stored responses. @default 10_000 */
  readonly capacity?: number | undefined;
}

interface Lease {
  owner: string;
  readonly fingerprint: string;
  endsAt: number;
}

interface StoredCompletion {
  readonly fingerprint: string;
  readonly response: string;
}

const maxBytes = 64 * 2 ** 20;

/**
 * Records in this process. If they are too many, the response that was used least recently is dropped; a lease is never
 * dropped, and a claim that finds no room is a fault.
 */
export class MemoryIdempotencyStore implements IdempotencyStore {
  /** Fake timers do not end the lease of a handler that runs. */
  readonly #leaseNow: () => number;
  readonly #capacity: number;
  readonly #leases = new Map<string, Lease>();
  readonly #completed: LRUCache<string, StoredCompletion>;
  readonly #watchers = new RecordWatchers();

  constructor({ now: givenNow, capacity = 10_000 }: MemoryIdempotencyOptions = {}) {
    const now = givenNow ?? steadyNow;
    this.#leaseNow = givenNow ?? monotonicNow;
    this.#capacity = capacity;
    this.#completed = new GrowingLru({
      max: capacity,
      maxSize: maxBytes,
      sizeCalculation: ({ response }) => response.length + 200,
      ttlResolution: 0,
      perf: lruClock(now),
    });
  }

  claim({ key, owner, fingerprint, leaseMs }: IdempotencyClaim): Promise<ClaimAnswer | StoreFault> {
    return Promise.resolve(this.#claim(key, owner, fingerprint, leaseMs));
  }

  #claim(key: string, owner: string, fingerprint: string, leaseMs: number): ClaimAnswer | StoreFault {
    const completed = this.#completed.get(key);
    if (completed !== undefined)
      return completed.fingerprint === fingerprint
        ? { state: "completed", response: completed.response }
        : { state: "mismatch" };
    const now = this.#leaseNow();
    const lease = this.#leaseOn(key, now);
    if (lease !== undefined && lease.fingerprint !== fingerprint) return { state: "mismatch" };
    if (lease !== undefined && lease.owner !== owner) return { state: "running", leftMs: lease.endsAt - now };
    if (lease !== undefined) lease.endsAt = now + leaseMs;
    else if (this.#hasRoom(now)) this.#leases.set(key, { owner, fingerprint, endsAt: now + leaseMs });
    else return new StoreFault("overloaded");
    return { state: "claimed" };
  }

  complete({ key, fingerprint, response, ttlMs }: IdempotencyCompletion): Promise<undefined> {
    const lease = this.#leaseOn(key, this.#leaseNow());
    const isTaken = lease !== undefined && lease.fingerprint !== fingerprint;
    if (!isTaken && !this.#completed.has(key)) {
      this.#leases.delete(key);
      this.#completed.set(key, { fingerprint, response }, { ttl: ttlMs });
      this.#watchers.notify(key);
    }
    return Promise.resolve(undefined);
  }

  release({ key, owner }: Pick<IdempotencyClaim, "key" | "owner">): Promise<undefined> {
    if (this.#leases.get(key)?.owner === owner) {
      this.#leases.delete(key);
      this.#watchers.notify(key);
    }
    return Promise.resolve(undefined);
  }

  watch(key: string, listener: () => void): () => void {
    return this.#watchers.add(key, listener);
  }

  #leaseOn(key: string, now: number): Lease | undefined {
    const lease = this.#leases.get(key);
    if (lease === undefined || lease.endsAt > now) return lease;
    this.#leases.delete(key);
    return undefined;
  }

  #hasRoom(now: number): boolean {
    if (this.#leases.size < this.#capacity) return true;
    for (const [key, { endsAt }] of this.#leases) if (endsAt <= now) this.#leases.delete(key);
    return this.#leases.size < this.#capacity;
  }
}
