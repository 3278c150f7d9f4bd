/** Middleware of all gates: it does nothing with a response on the context. */
const ofGates = new WeakSet<object>();

/** Notes a middleware of a gate, and returns it. */
export function registerMiddleware<M extends object>(middleware: M): M {
  ofGates.add(middleware);
  return middleware;
}

/**
 * True if only middleware of gates is in front of this one. The middleware of a router or of a mounted application is not on the
 * list, and so is wrapped middleware.
 */
export function isOutermost(list: readonly object[], own: object | undefined): boolean {
  for (const one of list) {
    if (one === own) return true;
    if (!ofGates.has(one)) return false;
  }
  return false;
}
