import { GrowingLru } from "../lib/growing-lru.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { RetryQueue } from "../lib/retry-queue.js";
import { clearTimeout, monotonicNow, setTimeout } from "../lib/real-timers.js";

export interface InvalidationsOptions {
  /** Invalidates a key in the store. Rejects with a StoreFault; may be called again. */
  readonly apply: (key: string) => Promise<void>;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

export interface InvalidationListener {
  /** A key is about to change in the store, or has changed: entries in process that depend on it are old. */
  readonly changed?: ((key: string) => void) | undefined;
  /** Too many invalidations are missing in the store to remember each: any stored entry may be old. */
  readonly overflowed?: (() => void) | undefined;
}

/** An invalidation that the store does not have yet. */
interface PendingInvalidation {
  /** Differs from earlier and later invalidations of the key, and from every generation. */
  readonly token: string;
  /** The pending attempt. */
  attempt: Promise<void> | undefined;
  /** Repeated until the store has it: an attempt has failed, or the store may have lost it. */
  missed: boolean;
  /** The store had it before, and may have lost it. */
  readonly isReapplied: boolean;
}

const maxPending = 10_000;
/** Invalidations of this time are repeated when the store returns. */
const recentMs = 60_000;
/** How long closing tries to reach the store. All steps of closing together have a second. */
const closeTimeoutMs = 250;
const closeRetryMs = 20;

/**
 * Invalidations on their way into the store. An invalidation that the store missed takes effect in this process all the same,
 * and is repeated until the store has it. Callers ask {@link isPending} before they use a stored entry, and may wait for the
 * store with {@link ensureApplied}.
 */
export class Invalidations {
  readonly #apply: (key: string) => Promise<void>;
  readonly #telemetry: Telemetry;
  readonly #logger: Logger;
  readonly #listeners: InvalidationListener[] = [];
  /** By key of the store. */
  readonly #pending = new Map<string, PendingInvalidation>();
  /** Invalidations that the store missed. */
  readonly #retries = new RetryQueue(maxPending);
  /** Invalidations that the store confirmed within the last minute. */
  readonly #recent = new GrowingLru<string, true>({ max: maxPending, ttl: recentMs, ttlResolution: 0 });
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

  /** Invalidates a key. Rejects with a StoreFault if the store missed it; it is repeated all the same. */
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

  /** Repeats the invalidations of the last minute, which the store may have lost. Until then they count as missed. */
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

  /** True while the store lacks an invalidation of this key: entries that depend on the key are gone for this process. */
  isPending(key: string): boolean {
    return this.#pending.size > 0 && this.#pending.has(key);
  }

  tokenOf(key: string): string | undefined {
    return this.#pending.size === 0 ? undefined : this.#pending.get(key)?.token;
  }

  /** Resolves when the store has the invalidations of these keys. Rejects with a StoreFault if it does not take them. */
  async ensureApplied(keys: readonly string[]): Promise<void> {
    const attempts: Promise<void>[] = [];
    for (const key of keys) {
      const pending = this.#pending.get(key);
      if (pending !== undefined) attempts.push(this.#attempt(key, pending));
    }
    await allOf(attempts);
  }

  /** Drops the invalidation with this token: a newer value has replaced the old one in the store. */
  supersede(key: string, token: string | undefined): void {
    const pending = this.#pending.get(key);
    if (pending !== undefined && pending.token === token) this.#remove(key, pending);
  }

  /** Tries a little longer: other processes never learn of an invalidation that the store lacks then. The store must be open. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#retries.close();
    if (this.#pending.size === 0) return;
    const end = monotonicNow() + closeTimeoutMs;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, closeTimeoutMs)));
    while (this.#pending.size > 0 && monotonicNow() < end) {
      const pause = new Promise<void>((resolve) => setTimeout(resolve, closeRetryMs));
      const attempt = this.ensureApplied([...this.#pending.keys()]).catch(() => pause);
      await Promise.race([attempt, timeout]);
    }
    clearTimeout(timer);
    const missed = this.#pending.size;
    if (missed === 0) return;
    const message =
      "portcullis: closed before Redis had every invalidation of the cache; other processes may use old values";
    this.#logger.warn({ missed }, message);
  }

  #attempt(key: string, pending: PendingInvalidation): Promise<void> {
    return (pending.attempt ??= this.#apply(key).then(
      () => {
        if (!pending.isReapplied) this.#recent.set(key, true);
        if (this.#pending.get(key) === pending) this.#remove(key, pending);
        // A read that began before the store had it must not be kept.
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

  /** Drops the oldest. Other processes never learn of it; this process trusts no entry that was stored until now. */
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

/** Waits for all promises, also after a rejection; then rejects with the first error. */
export async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(promises)) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}
