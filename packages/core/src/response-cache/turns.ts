/** What one of several response caches on the way of a request does for it. */
export interface Turn {
  /** How many caches the request has passed before. */
  readonly depth: number;
  /** Called when the request meets another cache behind this one. */
  withdraw: () => void;
}

/** The cache that a request has met last, by the state at the first gate of the request. */
const last = new WeakMap<object, Turn>();

/**
 * Of several caches on the way of one request, the last decides: it stands next to the handler, with the rules that were
 * written for it. Those before it store nothing, and look for nothing of the last one's, since theirs may be wider rules.
 */
export function takeOver(request: object): Turn {
  const before = last.get(request);
  before?.withdraw();
  const turn: Turn = { depth: before === undefined ? 0 : before.depth + 1, withdraw: () => undefined };
  last.set(request, turn);
  return turn;
}
