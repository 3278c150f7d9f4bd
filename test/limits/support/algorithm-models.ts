/**
 * What the algorithms are, in ten lines each: no table, no bound, no batching. Both stores must decide as these do. A model is
 * asked for the units that count at a time, and told what was counted.
 */
export interface Model {
  /** Would this cost fit now? */
  fits(cost: number, now: number): boolean;
  /** Counts it. Returns how to correct it later. */
  count(cost: number, now: number): (by: number, now: number) => void;
}

export interface Terms {
  readonly limit: number;
  readonly windowMs: number;
  readonly burst: number;
}

/** A window begins with its first charge. */
export function fixedWindow({ limit, windowMs }: Terms): Model {
  let window = { end: -1, used: 0 };
  return {
    fits: (cost, now) => (now < window.end ? window.used : 0) + cost <= limit,
    count(cost, now) {
      if (now >= window.end) window = { end: now + windowMs, used: 0 };
      const mine = window;
      mine.used += cost;
      return (by, later) => {
        if (later < mine.end) mine.used = Math.max(0, mine.used + by);
      };
    },
  };
}

/** A log in which a time is rounded up to the next twentieth of the window. */
export function slidingWindow({ limit, windowMs }: Terms): Model {
  const size = windowMs / 20;
  const log = new Map<number, number>();
  const until = (now: number): number => (Math.floor(now / size) + 1) * size + windowMs;
  const used = (now: number): number => [...log].reduce((sum, [end, units]) => sum + (end > now ? units : 0), 0);
  return {
    fits: (cost, now) => used(now) + cost <= limit,
    count(cost, now) {
      const end = until(now);
      log.set(end, (log.get(end) ?? 0) + cost);
      return (by, later) => {
        if (end > later) log.set(end, Math.max(0, (log.get(end) ?? 0) + by));
      };
    },
  };
}

/** A bucket that `limit` units a window flow into; what is taken too early cannot be given back a second time. */
export function tokenBucket({ limit, windowMs, burst }: Terms): Model {
  let [owed, at] = [0, 0];
  const owedAt = (now: number): number => Math.max(0, owed - (now - at) * limit);
  return {
    fits: (cost, now) => owedAt(now) + cost * windowMs <= (limit === 0 ? 0 : burst) * windowMs,
    count(cost, now) {
      [owed, at] = [owedAt(now) + cost * windowMs, now];
      const gone = now + Math.ceil(owed / limit);
      return (by, later) => {
        if (limit === 0) return;
        [owed, at] = [owedAt(later), later];
        owed += by > 0 ? by * windowMs : -Math.min(-by * windowMs, Math.max(0, gone - later) * limit, owed);
      };
    },
  };
}

/** Slots that are held until they are given back, or their time is over. */
export function concurrency({ limit, windowMs }: Terms): Model {
  const held = new Set<{ until: number }>();
  return {
    fits: (cost, now) => [...held].filter(({ until }) => until > now).length + cost <= limit,
    count(_cost, now) {
      const slot = { until: now + windowMs };
      held.add(slot);
      return (by) => {
        if (by < 0) held.delete(slot);
      };
    },
  };
}

export const models = {
  "fixed-window": fixedWindow,
  "sliding-window": slidingWindow,
  "token-bucket": tokenBucket,
  concurrency,
} as const;
