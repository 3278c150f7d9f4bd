import { LRUCache } from "lru-cache";
import { StoreFault } from "../store/ports/decisions.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { RetryQueue } from "./retry-queue.js";

export interface InvalidationsOptions {
  /** Does it in the store, by the key there. Rejects with a StoreFault; may be repeated. */
  readonly apply: (key: string) => Promise<void>;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

export interface InvalidationListener {
  /** This key is about to change in the store, or has changed: what is kept by it here is old. */
  readonly changed?: ((key: string) => void) | undefined;
  /** Too many were missed to remember each: whatever was stored until now may be old. */
  readonly overflowed?: (() => void) | undefined;
}

/** An invalidation that the store does not have yet. */
interface PendingInvalidation {
  /** Tells it from earlier and later ones of the same key; no generation looks like it. */
  readonly token: string;
  /** The attempt that is under way. */
  attempt: Promise<void> | undefined;
  /** It is repeated until the store has it: an attempt has failed, or the store has had it and may have lost it. */
  missed: boolean;
  /** The store had it once. */
  readonly isReapplied: boolean;
}

const maxPending = 10_000;
/** Those of this time are made again where the store may have lost them. */
const recentMs = 60_000;
/** How long closing tries to tell the store: with the other good-byes less than the second that closing may take. */
const closeTimeoutMs = 250;
const closeRetryMs = 20;

/**
 * Invalidations on their way into the store. One that the store misses counts in this process all the same, and is repeated
 * until the store has it; then this process goes by the store again. Callers ask {@link isPending} before they use what was
 * stored, and may wait for the store with {@link ensureApplied}.
 */
export class Invalidations {
  readonly #apply: (key: string) => Promise<void>;
  readonly #telemetry: Telemetry;
  readonly #logger: Logger;
  readonly #listeners: InvalidationListener[] = [];
  /** By key of the store. */
  readonly #pending = new Map<string, PendingInvalidation>();
  /** Those that were missed. */
  readonly #retries = new RetryQueue(maxPending);
  /** Those that the store has had lately. */
  readonly #recent = new LRUCache<string, true>({ max: maxPending, ttl: recentMs, ttlResolution: 0 });
  #tokens = 0;
  #closing: Promise<void> | undefined;

  constructor({ apply, telemetry, logger }: InvalidationsOptions) {
    this.#apply = apply;
    this.#telemetry = telemetry;
    this.#logger = logger;
  }

  listen(listener: InvalidationListener): void {
    this.#listeners.push(listener);
  }

  /** Rejects with a StoreFault if the store missed it; it is repeated all the same. */
  async invalidate(key: string): Promise<void> {
    const before = this.#pending.get(key);
    const missed = before?.missed === true && !before.isReapplied;
    if (before?.isReapplied === true) this.#retries.delete(key);
    const pending: PendingInvalidation = { token: this.#nextToken(), attempt: undefined, missed, isReapplied: false };
    if (before === undefined && this.#pending.size >= maxPending) this.#dropOldest();
    this.#pending.set(key, pending);
    if (pending.missed) this.#repeat(key, pending);
    this.#notify(key);
    await this.#attempt(key, pending);
  }

  /** The store may have lost those of the last minute: until it has them again they are as good as missed. */
  reapplyRecent(): void {
    if (this.#closing !== undefined) return;
    for (const key of this.#recent.keys()) {
      if (this.#pending.has(key)) continue;
      if (this.#pending.size >= maxPending) return;
      const pending: PendingInvalidation = {
        token: this.#nextToken(),
        attempt: undefined,
        missed: true,
        isReapplied: true,
      };
      this.#pending.set(key, pending);
      this.#repeat(key, pending);
      this.#notify(key);
    }
  }

  /** Does the store not have it yet? Then what is stored under this key, or by it, is gone for this process. */
  isPending(key: string): boolean {
    return this.#pending.size > 0 && this.#pending.has(key);
  }

  tokenOf(key: string): string | undefined {
    return this.#pending.size === 0 ? undefined : this.#pending.get(key)?.token;
  }

  /** Sees to it that the store has those of these keys. Rejects with a StoreFault if it does not. */
  async ensureApplied(keys: readonly string[]): Promise<void> {
    const attempts: Promise<void>[] = [];
    for (const key of keys) {
      const pending = this.#pending.get(key);
      if (pending !== undefined) attempts.push(this.#attempt(key, pending));
    }
    await allOf(attempts);
  }

  /** What the one with this mark was about has been overwritten in the store. */
  supersede(key: string, token: string | undefined): void {
    const pending = this.#pending.get(key);
    if (pending !== undefined && pending.token === token) this.#remove(key, pending);
  }

  /** Tries for a little longer: what the store misses then, other processes never hear of. The store must not be closed. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#retries.close();
    if (this.#pending.size === 0) return;
    const end = performance.now() + closeTimeoutMs;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, closeTimeoutMs)));
    while (this.#pending.size > 0 && performance.now() < end) {
      const pause = new Promise<void>((resolve) => setTimeout(resolve, closeRetryMs));
      const attempt = this.ensureApplied([...this.#pending.keys()]).catch(() => pause);
      await Promise.race([attempt, timeout]);
    }
    clearTimeout(timer);
    const missed = this.#pending.size;
    if (missed === 0) return;
    const message =
      "portcullis: closed before Redis had every invalidation of the cache; other processes may use what is old";
    this.#logger.warn({ missed }, message);
  }

  #attempt(key: string, pending: PendingInvalidation): Promise<void> {
    return (pending.attempt ??= this.#apply(key).then(
      () => {
        if (!pending.isReapplied) this.#recent.set(key, true);
        if (this.#pending.get(key) === pending) this.#remove(key, pending);
        // What was read before the store had it must not be kept.
        this.#notify(key);
      },
      (error: unknown) => {
        pending.attempt = undefined;
        if (this.#pending.get(key) === pending) this.#onMissed(key, pending, error);
        throw error;
      },
    ));
  }

  #onMissed(key: string, pending: PendingInvalidation, error: unknown): void {
    if (pending.missed) return;
    pending.missed = true;
    const fault = error instanceof StoreFault ? error.kind : "unreadable";
    this.#telemetry.invalidationEnded("missed", fault);
    if (this.#retries.size === 0) {
      const message = "portcullis: Redis missed an invalidation of the cache; it is repeated until Redis has it";
      this.#logger.warn({ fault }, message);
    }
    this.#repeat(key, pending);
  }

  #repeat(key: string, pending: PendingInvalidation): void {
    this.#retries.add(key, () => this.#attempt(key, pending));
  }

  #remove(key: string, { missed, isReapplied }: PendingInvalidation): void {
    this.#pending.delete(key);
    if (!missed) return;
    this.#retries.delete(key);
    if (!isReapplied) this.#telemetry.invalidationEnded("repeated", undefined);
  }

  /** The oldest makes room. Other processes never hear of it; this one trusts nothing that was stored until now. */
  #dropOldest(): void {
    for (const key of this.#pending.keys()) {
      this.#pending.delete(key);
      this.#retries.delete(key);
      break;
    }
    this.#telemetry.invalidationEnded("dropped", undefined);
    for (const { overflowed } of this.#listeners) overflowed?.();
  }

  #nextToken(): string {
    return ` ${(this.#tokens += 1)}`;
  }

  #notify(key: string): void {
    for (const { changed } of this.#listeners) changed?.(key);
  }
}

/** Resolves when all are settled; rejects with the first error then, and leaves nothing under way. */
export async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(promises)) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}
