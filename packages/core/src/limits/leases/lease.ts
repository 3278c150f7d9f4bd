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
  bornAt: number;
  /** When the answer was asked for that the above is from. */
  asOf: number;
  /** Nothing more is asked for before: the last request brought nothing. */
  sparseUntil: number;
  renewing: boolean;
}

const shortestLifeMs = 250;
const longestLifeMs = 5000;
const livesOfWindow = 20;

/** How long points may lie idle in a process: a twentieth of the window, from a quarter of a second to five. */
export function lifeOf(windowSeconds: number): number {
  return Math.min(longestLifeMs, Math.max(shortestLifeMs, (windowSeconds * 1000) / livesOfWindow));
}

/** Are so few points left that more should be asked for, before they are gone? */
export function runsLow({ held, pace, renewing, sparseUntil }: Lease, now: number): boolean {
  return !renewing && held <= pace / 4 && now >= sparseUntil;
}

/** Expects as many points for a life as its beginning suggests, but not more than twice what was expected so far. */
export function speedUp(lease: Lease, now: number): void {
  const elapsed = Math.max(1, now - lease.bornAt);
  const projected = Math.ceil((lease.used * lease.lifeMs) / elapsed);
  lease.pace = Math.min(2 * lease.pace, Math.max(lease.pace, projected));
}

/** Begins a new life, in which as many points are expected as in the one that ended. */
export function startLife(lease: Lease, now: number): void {
  lease.pace = lease.used;
  lease.used = 0;
  lease.bornAt = now;
}

/** Points of a window that has ended are worth nothing. */
export function expire(lease: Lease, now: number): void {
  if (now >= lease.windowEndsAt) lease.held = 0;
}
