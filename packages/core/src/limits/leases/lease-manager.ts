import { LRUCache } from "lru-cache";
import type { Consumption } from "../../store/ports/decisions.js";
import type { LeaseGrant, LeaseRequest } from "../../store/ports/leases.js";

export interface LeaseManagerOptions {
  /** Milliseconds from a monotonic clock. */
  readonly now: () => number;
  /** Quotas leased at once; others are counted exactly. @default 20_000 */
  readonly capacity?: number | undefined;
}

/** Points set aside for one request. */
export interface Reservation {
  readonly lease: Lease;
  readonly points: number;
  readonly windowEnd: number;
}

/** Quotas that were asked for once, to see which are asked for again. */
const maxCandidates = 10_000;

/**
 * The parts of quotas that this process holds. It leases what is asked for repeatedly: as much as it gave out in the last
 * life of the lease, twice that while demand grows. What lies idle for a life is given back. Nothing here waits or calls:
 * `collect` says what to ask of the store, and `apply` takes the answer.
 */
export class LeaseManager {
  readonly #now: () => number;
  readonly #capacity: number;
  readonly #leases = new Map<string, Lease>();
  /** By length of life, those that began first coming first. */
  readonly #lives = new Map<number, Set<Lease>>();
  readonly #seen = new LRUCache<string, number>({ max: maxCandidates });
  readonly #renewals = new Set<Lease>();
  /** Given back before the next renewal of the same quota. */
  readonly #returns: LeaseRequest[] = [];

  constructor({ now, capacity = 20_000 }: LeaseManagerOptions) {
    this.#now = now;
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#leases.size;
  }

  /** Is there something to ask of the store? */
  get hasRequests(): boolean {
    return this.#renewals.size > 0 || this.#returns.length > 0;
  }

  /** Sets points aside: all that the charge costs, or as many as there are. Undefined where the store must be asked. */
  reserve({ key, limit, cost }: Consumption): Reservation | undefined {
    const lease = this.#leases.get(key);
    // Under a lower limit than theirs, only the store knows whether there is room for these points.
    if (lease === undefined || limit < lease.limit) return undefined;
    const now = this.#now();
    expire(lease, now);
    if (lease.held === 0) return undefined;
    const points = Math.min(cost, lease.held);
    lease.held -= points;
    lease.used += points;
    this.#renewIfLow(lease, now);
    return { lease, points, windowEnd: lease.windowEnd };
  }

  /** Puts back what a request that was refused elsewhere did not need. */
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

  /** The store counted this by itself, up to `consumed`: a quota that is asked for again is worth leasing. */
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
    if (before === undefined || now - before > lifeMs) return void this.#seen.set(key, now);
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
    };
    this.#leases.set(key, lease);
    this.#queue(lease);
    this.#renewals.add(lease);
  }

  /** Ends lives that are over: gives back what lay idle, and forgets what nobody asked for. */
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

  /** What to ask of the store next, in one call; whoever takes it must come back with `apply` or `fail`. */
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

  /** The answer to one request, which went out at `sentAt`: the window ends no earlier than this makes of it. */
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
    // What was counted meanwhile may have been answered first.
    lease.consumed = isAnother && lease.windowEnd !== 0 ? consumed : Math.max(lease.consumed, consumed);
    lease.windowEnd = windowEnd;
    lease.windowEndsAt = sentAt + resetMs;
    lease.asOf = sentAt;
  }

  /** The request came to nothing, or to an answer that never came: then what was granted is lost until the window ends. */
  fail({ key, take }: LeaseRequest): void {
    const lease = this.#leases.get(key);
    if (take === 0 || lease === undefined) return;
    lease.renewing = false;
    lease.sparseUntil = this.#now() + lease.lifeMs / 2;
  }

  /** Ends every lease; `collect` then has what is to be given back. */
  drain(): void {
    for (const lease of this.#leases.values()) this.#giveBack(lease, lease.held);
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

  /** While the store is away they pile up, but not for ever; what is dropped comes back with the next window. */
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

/** A part of one quota that this process gives out by itself. Times are milliseconds of the process' monotonic clock. */
export interface Lease {
  readonly key: string;
  readonly limit: number;
  readonly lifeMs: number;
  readonly windowMs: number;
  /** Points that are counted in the store and not given out yet. */
  held: number;
  /** The store's counter, as it was last seen. */
  consumed: number;
  windowEndsAt: number;
  /** The same by the store's clock, which tells this window from others. */
  windowEnd: number;
  /** Points given out in this life. */
  used: number;
  /** Points that this life is expected to give out. */
  pace: number;
  startedAt: number;
  /** When the answer was asked for that the above is from. */
  asOf: number;
  /** Nothing more is asked for before: the last request brought nothing. */
  sparseUntil: number;
  renewing: boolean;
}

const minLifeMs = 250;
const maxLifeMs = 5000;
const livesOfWindow = 20;

/** How long points may lie idle in a process: a twentieth of the window, from a quarter of a second to five. */
export function lifeOf(windowSeconds: number): number {
  return Math.min(maxLifeMs, Math.max(minLifeMs, (windowSeconds * 1000) / livesOfWindow));
}

/** Are so few points left that more should be asked for, before they are gone? */
export function runsLow({ held, pace, renewing, sparseUntil }: Lease, now: number): boolean {
  return !renewing && held <= pace / 4 && now >= sparseUntil;
}

/** Expects as many points for a life as its beginning suggests, but not more than twice what was expected so far. */
export function raisePace(lease: Lease, now: number): void {
  const elapsed = Math.max(1, now - lease.startedAt);
  const projected = Math.ceil((lease.used * lease.lifeMs) / elapsed);
  lease.pace = Math.min(2 * lease.pace, Math.max(lease.pace, projected));
}

/** Begins a new life, in which as many points are expected as in the one that ended. */
export function startLife(lease: Lease, now: number): void {
  lease.pace = lease.used;
  lease.used = 0;
  lease.startedAt = now;
}

/** Points of a window that has ended are worth nothing. */
export function expire(lease: Lease, now: number): void {
  if (now >= lease.windowEndsAt) lease.held = 0;
}
