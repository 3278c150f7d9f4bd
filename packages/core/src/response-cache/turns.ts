/** What one of several response caches on the way of a request does for it. */
export interface CachePass {
  /** How many caches the request has passed before. */
  readonly depth: number;
  /** Called when the request meets another cache behind this one. */
  withdraw: () => void;
}

/** The cache that a request has met last, by the set that all gates of the request share. */
const lastPasses = new WeakMap<ReadonlySet<object>, CachePass>();

/**
 * Of several caches on the way of one request, the last decides: it stands next to the handler, with the rules that were
 * written for it. Those before it store nothing, and look for nothing of the last one's, since theirs may be wider rules.
 */
export function enterCache(request: ReadonlySet<object>): CachePass {
  const before = lastPasses.get(request);
  before?.withdraw();
  const pass: CachePass = { depth: before === undefined ? 0 : before.depth + 1, withdraw: () => undefined };
  lastPasses.set(request, pass);
  return pass;
}
