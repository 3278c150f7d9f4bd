import { TwoGenerationCache } from "../../lib/two-generation-cache.js";
import type { Consumption, ConsumptionNote } from "../../store/ports/decisions.js";
import type { LeaseGrant, LeaseRequest } from "../../store/ports/leases.js";

export interface LeaseManagerOptions {
  /** Milliseconds from a monotonic clock. */
  readonly now: () => number;
  /** Maximum number of leases; other quotas are counted in the store. @default 20_000 */
  readonly capacity?: number | undefined;
}

/** Points that are reserved for one request. */
export interface Reservation {
  readonly lease: Lease;
  readonly points: number;
  readonly windowEnd: number;
}

/** Maximum number of quotas that were used once: a quota that is used again gets a lease. */
const maxCandidates = 20_000;

/**
 * The parts of quotas that this process holds. A quota that is used repeatedly gets a lease: as many points as the last
 * life of the lease has used, and twice as many while the use grows. Points that stay unused for a life are given back.
 * The manager neither waits nor calls: `collect` returns the requests to the store, and `apply` takes the answers.
 */
export class LeaseManager {
  readonly #now: () => number;
  readonly #capacity: number;
  readonly #leases = new Map<string, Lease>();
  /** Leases by the length of their life, the oldest first. */
  readonly #lives = new Map<number, Set<Lease>>();
  readonly #seen = new TwoGenerationCache<string, number>({ max: maxCandidates });
  readonly #renewals = new Set<Lease>();
  /** Points to give back. */
  readonly #returns: LeaseRequest[] = [];

  constructor({ now, capacity = 20_000 }: LeaseManagerOptions) {
    this.#now = now;
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#leases.size;
  }

  /** Are there requests to the store? */
  get hasRequests(): boolean {
    return this.#renewals.size > 0 || this.#returns.length > 0;
  }

  /** Reserves points: the whole cost, or as many as the lease holds. Undefined if only the store can answer. */
  reserve({ key, limit, cost, note }: Consumption, now: number = this.#now()): Reservation | undefined {
    const lease = this.#leaseOf(key, note);
    // Under a limit that is lower than the one of the lease, only the store knows whether the points are left.
    if (lease === undefined || limit < lease.limit) return undefined;
    expire(lease, now);
    if (lease.held === 0) return undefined;
    const points = Math.min(cost, lease.held);
    lease.held -= points;
    lease.used += points;
    this.#renewIfLow(lease, now);
    return { lease, points, windowEnd: lease.windowEnd };
  }

  #leaseOf(key: string, note: ConsumptionNote | undefined): Lease | undefined {
    const known = note?.lease as Lease | undefined;
    if (known !== undefined && !known.hasEnded) return known;
    const lease = this.#leases.get(key);
    if (note !== undefined) note.lease = lease;
    return lease;
  }

  /** Puts back the points of a request that was refused elsewhere. */
  release({ lease, points, windowEnd }: Reservation): void {
    if (lease.windowEnd !== windowEnd) return;
    if (this.#leases.get(lease.key) !== lease) return this.#return({ ...this.#idle(lease, points), windowEnd });
    lease.held += points;
    lease.used = Math.max(0, lease.used - points);
  }

  /** Milliseconds until the window of a lease ends. */
  resetMs({ windowEndsAt }: Lease): number {
    return Math.max(0, windowEndsAt - this.#now());
  }

  /** Notes a consumption that the store has counted, with its counter. A second one in a short time creates a lease. */
  noteCounted({ key, limit, cost, windowSeconds }: Consumption, consumed: number): void {
    if (cost === 0) return;
    const now = this.#now();
    const known = this.#leases.get(key);
    if (known !== undefined) {
      known.used += cost;
      known.consumed = Math.max(known.consumed, consumed);
      return this.#renewIfLow(known, now);
    }
    const lifeMs = lifeOf(windowSeconds);
    const before = this.#seen.get(key);
    if (before === undefined || now - before > lifeMs) return this.#seen.set(key, now);
    if (this.#leases.size >= this.#capacity) return;
    this.#seen.delete(key);
    const initial = { held: 0, consumed, windowEnd: 0, windowEndsAt: 0, used: cost, pace: 2 * cost };
    const lease: Lease = {
      key,
      limit,
      lifeMs,
      windowMs: windowSeconds * 1000,
      ...initial,
      startedAt: now,
      asOf: now,
      sparseUntil: 0,
      renewing: false,
      hasEnded: false,
    };
    this.#leases.set(key, lease);
    this.#queue(lease);
    this.#renewals.add(lease);
  }

  /** Ends the lives that are over: gives back unused points, and drops leases that were not used. */
  sweep(): void {
    const now = this.#now();
    for (const [lifeMs, queue] of this.#lives) {
      for (const lease of queue) {
        if (lease.startedAt + lifeMs > now) break;
        queue.delete(lease);
        this.#endLife(lease, now);
      }
      if (queue.size === 0) this.#lives.delete(lifeMs);
    }
  }

  /** Returns the next requests for one call. The caller must answer each with `apply` or `fail`. */
  collect(maxRequests: number): LeaseRequest[] {
    const now = this.#now();
    const requests = this.#returns.splice(0, maxRequests);
    for (const lease of this.#renewals) {
      if (requests.length >= maxRequests) break;
      this.#renewals.delete(lease);
      expire(lease, now);
      lease.renewing = true;
      requests.push({ ...this.#idle(lease, 0), take: Math.max(1, lease.pace - lease.held) });
    }
    return requests;
  }

  /** Takes the answer to a request that was sent at `sentAt`. The end of the window is computed from that time. */
  apply(
    { key, take, windowMs }: LeaseRequest,
    { granted, consumed, resetMs, windowEnd }: LeaseGrant,
    sentAt: number,
  ): void {
    const lease = this.#leases.get(key);
    if (take === 0 || lease === undefined) {
      if (granted > 0) this.#return({ key, limit: 0, take: 0, giveBack: granted, windowEnd, windowMs });
      return;
    }
    if (sentAt < lease.asOf) return this.#return({ ...this.#idle(lease, granted), windowEnd });
    const now = this.#now();
    lease.renewing = false;
    if (granted === 0) lease.sparseUntil = now + lease.lifeMs / 2;
    if (resetMs <= 0) return;
    expire(lease, now);
    const isAnother = lease.windowEnd !== windowEnd;
    if (isAnother) lease.held = 0;
    lease.held += granted;
    // A later count may have been answered first.
    lease.consumed = isAnother && lease.windowEnd !== 0 ? consumed : Math.max(lease.consumed, consumed);
    lease.windowEnd = windowEnd;
    lease.windowEndsAt = sentAt + resetMs;
    lease.asOf = sentAt;
  }

  /**
   * Notes that a request has failed. If only its answer was lost, the granted points are lost until the window ends.
   */
  fail({ key, take }: LeaseRequest): void {
    const lease = this.#leases.get(key);
    if (take === 0 || lease === undefined) return;
    lease.renewing = false;
    lease.sparseUntil = this.#now() + lease.lifeMs / 2;
  }

  /** Ends all leases; `collect` then returns their points. */
  drain(): void {
    for (const lease of this.#leases.values()) {
      lease.hasEnded = true;
      this.#giveBack(lease, lease.held);
    }
    this.#leases.clear();
    this.#lives.clear();
    this.#renewals.clear();
  }

  #renewIfLow(lease: Lease, now: number): void {
    if (!runsLow(lease, now)) return;
    raisePace(lease, now);
    this.#renewals.add(lease);
  }

  #endLife(lease: Lease, now: number): void {
    expire(lease, now);
    if (lease.used === 0) {
      this.#giveBack(lease, lease.held);
      this.#renewals.delete(lease);
      lease.hasEnded = true;
      this.#leases.delete(lease.key);
      return;
    }
    startLife(lease, now);
    if (lease.held > 2 * lease.pace) this.#giveBack(lease, lease.held - lease.pace);
    this.#queue(lease);
  }

  #giveBack(lease: Lease, points: number): void {
    if (points === 0) return;
    this.#return(this.#idle(lease, points));
    lease.held -= points;
    lease.consumed -= points;
  }

  /** The number is bounded while the store is away. Dropped points come back with the next window. */
  #return(request: LeaseRequest): void {
    if (this.#returns.length < this.#capacity) this.#returns.push(request);
  }

  #idle({ key, limit, windowEnd, windowMs }: Lease, giveBack: number): LeaseRequest {
    return { key, limit, take: 0, giveBack, windowEnd, windowMs };
  }

  #queue(lease: Lease): void {
    const queue = this.#lives.get(lease.lifeMs);
    if (queue === undefined) this.#lives.set(lease.lifeMs, new Set([lease]));
    else queue.add(lease);
  }
}

/** A part of one quota that this process holds. Times are milliseconds of the monotonic clock. */
export interface Lease {
  readonly key: string;
  readonly limit: number;
  readonly lifeMs: number;
  readonly windowMs: number;
  /** Points that the store has counted and that no request has used. */
  held: number;
  /** The counter in the store, as last read. */
  consumed: number;
  windowEndsAt: number;
  /** The same by the store's clock, which identifies the window. */
  windowEnd: number;
  /** Points used in this life. */
  used: number;
  /** Expected points of this life. */
  pace: number;
  startedAt: number;
  /** When the request was sent whose answer was applied last. */
  asOf: number;
  /** No request is made before this time, since the last one got no points. */
  sparseUntil: number;
  renewing: boolean;
  /** The manager has dropped it. */
  hasEnded: boolean;
}

const minLifeMs = 250;
const maxLifeMs = 5000;
const livesOfWindow = 20;

/** How long points may stay unused in a process: a twentieth of the window, from 250 ms to 5 s. */
export function lifeOf(windowSeconds: number): number {
  return Math.min(maxLifeMs, Math.max(minLifeMs, (windowSeconds * 1000) / livesOfWindow));
}

/** Are so few points left that more must be requested now? */
export function runsLow({ held, pace, renewing, sparseUntil }: Lease, now: number): boolean {
  return !renewing && held <= pace / 4 && now >= sparseUntil;
}

/** Raises the expected points to the projection of this life so far, at most to twice the former value. */
export function raisePace(lease: Lease, now: number): void {
  const elapsed = Math.max(1, now - lease.startedAt);
  const projected = Math.ceil((lease.used * lease.lifeMs) / elapsed);
  lease.pace = Math.min(2 * lease.pace, Math.max(lease.pace, projected));
}

/** Begins a new life, with the used points of the last one as the expected points. */
export function startLife(lease: Lease, now: number): void {
  lease.pace = lease.used;
  lease.used = 0;
  lease.startedAt = now;
}

/** Drops the points of a window that has ended. */
export function expire(lease: Lease, now: number): void {
  if (now >= lease.windowEndsAt) lease.held = 0;
}
