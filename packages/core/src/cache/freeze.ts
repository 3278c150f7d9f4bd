/**
 * Freezes a value with everything in it, so that many requests may share it; false if there is something that cannot be
 * frozen (Date, Map, Set, typed arrays: freezing does not keep their contents). Not recursive: values may be deep.
 */
export function freezeAll(root: unknown): boolean {
  if (typeof root !== "object" || root === null) return true;
  const seen = new Set<object>();
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    const prototype: unknown = Object.getPrototypeOf(value);
    if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return false;
    seen.add(value);
    for (const member of Object.values(value)) open.push(member);
  }
  for (const value of seen) Object.freeze(value);
  return true;
}

/** The same for what JSON has made: a tree, of objects and lists alone. */
export function freezeTree(root: unknown): void {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null) continue;
    Object.freeze(value);
    for (const member of Object.values(value)) if (typeof member === "object" && member !== null) open.push(member);
  }
}
