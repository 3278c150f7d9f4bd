import type { BreakerControl } from "../../lib/breaker.js";
import type { Channels } from "../ports/channels.js";
import type { LockAnswer, LockClaim, LockRequest, LockStore } from "../ports/locks.js";
import { lockChannel } from "../ports/locks.js";
import { monotonicNow } from "../../lib/real-timers.js";

interface Holder {
  readonly owner: string;
  /** Monotonic milliseconds. */
  expiresAt: number;
  /** Does anybody wait for the lock? */
  awaited: boolean;
}

export interface MemoryLockStoreOptions {
  readonly channels: Channels;
  /** Milliseconds from a monotonic clock. */
  readonly now?: (() => number) | undefined;
}

/** Expired locks are searched for when there are so many locks. */
const minSweepSize = 1024;

/** Locks within one process. One fence for all names grows with each lock, so that no fence has to be kept. */
export class MemoryLockStore implements LockStore {
  readonly breakers: readonly BreakerControl[] = [];
  readonly #channels: Channels;
  readonly #now: () => number;
  readonly #held = new Map<string, Holder>();
  #sweepSize = minSweepSize;
  #fence = 0;

  constructor({ channels, now = monotonicNow }: MemoryLockStoreOptions) {
    this.#channels = channels;
    this.#now = now;
  }

  /** The number of locks that are kept. */
  get size(): number {
    return this.#held.size;
  }

  async take({ keys, owner, leaseMs, waits }: LockRequest): Promise<LockAnswer> {
    await Promise.resolve();
    const now = this.#now();
    let waitMs = 0;
    for (const { lock } of keys) {
      const holder = this.#holderOf(lock, now);
      if (holder === undefined || holder.owner === owner) continue;
      holder.awaited ||= waits;
      waitMs = Math.max(waitMs, holder.expiresAt - now);
    }
    if (waitMs > 0) return { waitMs };
    this.#fence = Math.max(this.#fence + 1, Date.now() * 1000);
    for (const { lock } of keys) this.#held.set(lock, { owner, expiresAt: now + leaseMs, awaited: false });
    this.#sweep(now);
    return { fence: this.#fence };
  }

  async extend({ keys, owner }: LockClaim, _fence: number, leaseMs: number): Promise<boolean> {
    await Promise.resolve();
    const now = this.#now();
    const holders = keys.map(({ lock }) => this.#holderOf(lock, now));
    if (!holders.every((holder) => holder?.owner === owner)) return false;
    for (const holder of holders)
      if (holder !== undefined) holder.expiresAt = Math.max(holder.expiresAt, now + leaseMs);
    return true;
  }

  async release({ keys, owner }: LockClaim): Promise<boolean> {
    await Promise.resolve();
    const now = this.#now();
    let all = true;
    for (const { lock } of keys) {
      const holder = this.#holderOf(lock, now);
      if (holder?.owner !== owner) {
        all = false;
        continue;
      }
      this.#held.delete(lock);
      if (holder.awaited) void this.#channels.publish(lockChannel, lock);
    }
    return all;
  }

  async withdraw(claim: LockClaim): Promise<void> {
    await this.release(claim);
  }

  #holderOf(lock: string, now: number): Holder | undefined {
    const holder = this.#held.get(lock);
    return holder === undefined || holder.expiresAt <= now ? undefined : holder;
  }

  #sweep(now: number): void {
    if (this.#held.size < this.#sweepSize) return;
    for (const [lock, { expiresAt }] of this.#held) if (expiresAt <= now) this.#held.delete(lock);
    this.#sweepSize = Math.max(minSweepSize, 2 * this.#held.size);
  }
}
