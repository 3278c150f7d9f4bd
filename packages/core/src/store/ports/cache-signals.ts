import type { Channels } from "./channels.js";

/** Who wants to know when keys with a prefix change. */
export interface SignalledPrefix {
  readonly prefix: string;
  /** This key was written, deleted, expired or evicted. */
  invalidate(key: string): void;
  /** Any key may have changed unheard. */
  flush(): void;
}

/** What a process hears of what others do to the cache. */
export interface CacheSignals {
  readonly channels: Channels;
  track(tracked: SignalledPrefix): void;
  /** Has everything been heard that changed longer than this ago? */
  isAlive(withinMs: number): boolean;
}
