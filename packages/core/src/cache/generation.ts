/** The random text that entries of a namespace, a view or a tag carry; another one there, and they do not count any more. */
export interface Generation {
  readonly key: string;
  value: string | undefined;
  /** So long it is sure to live in the store; by the monotonic clock of this process. */
  livesUntil: number;
  /** Grows whenever the value may have changed; entries kept in process remember which they were read under. */
  version: number;
  /** It is no longer told of changes: ask for another. */
  isEvicted: boolean;
}

/** Has none of these changed since it was in its epoch? */
export function unchanged(generations: readonly Generation[], versions: readonly number[]): boolean {
  for (let index = 0; index < versions.length; index += 1) {
    if (generations[index]?.version !== versions[index]) return false;
  }
  return true;
}
