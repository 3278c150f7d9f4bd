/** What decides about the slot of one of our keys (Redis Cluster specification, "Hash tags"). */
export function hashTag(key: string): string {
  return /\{([^}]*)\}/.exec(key)?.[1] ?? key;
}
