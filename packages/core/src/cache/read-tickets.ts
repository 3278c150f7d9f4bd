/** Something that is being read. A change of its key meanwhile makes the answer unfit to be kept (decisions 15). */
export interface ReadTicket {
  readonly key: string;
  fit: boolean;
  /** Another read of the same key. */
  next: ReadTicket | undefined;
}

/** What is being read now, by key. */
export class ReadTickets {
  readonly #marks = new Map<string, ReadTicket>();

  begin(key: string): ReadTicket {
    const mark = { key, fit: true, next: this.#marks.get(key) };
    this.#marks.set(key, mark);
    return mark;
  }

  end(mark: ReadTicket): void {
    const { key, next } = mark;
    let before = this.#marks.get(key);
    if (before === mark) {
      if (next === undefined) this.#marks.delete(key);
      else this.#marks.set(key, next);
      return;
    }
    while (before !== undefined && before.next !== mark) before = before.next;
    if (before !== undefined) before.next = next;
  }

  invalidate(key: string): void {
    for (let mark = this.#marks.get(key); mark !== undefined; mark = mark.next) mark.fit = false;
  }

  flush(): void {
    for (const key of this.#marks.keys()) this.invalidate(key);
  }
}
