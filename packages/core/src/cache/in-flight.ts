/** Something that is being read. A change of its key meanwhile makes the answer unfit to be kept (decisions 15). */
export interface Mark {
  readonly key: string;
  fit: boolean;
}

/** What is being read now, by key. */
export class InFlight {
  readonly #marks = new Map<string, Set<Mark>>();

  begin(key: string): Mark {
    const mark = { key, fit: true };
    const marks = this.#marks.get(key);
    if (marks === undefined) this.#marks.set(key, new Set([mark]));
    else marks.add(mark);
    return mark;
  }

  end(mark: Mark): void {
    const marks = this.#marks.get(mark.key);
    marks?.delete(mark);
    if (marks?.size === 0) this.#marks.delete(mark.key);
  }

  invalidate(key: string): void {
    for (const mark of this.#marks.get(key) ?? []) mark.fit = false;
  }

  flush(): void {
    for (const marks of this.#marks.values()) for (const mark of marks) mark.fit = false;
  }
}
