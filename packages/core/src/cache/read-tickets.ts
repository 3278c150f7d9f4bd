/** Something that is being read. A change of its key meanwhile makes the answer unfit to be kept (decisions 15). */
export interface ReadTicket {
  readonly key: string;
  isCurrent: boolean;
  /** Another read of the same key. */
  next: ReadTicket | undefined;
}

/** What is being read now, by key. */
export class ReadTickets {
  readonly #tickets = new Map<string, ReadTicket>();

  issue(key: string): ReadTicket {
    const ticket = { key, isCurrent: true, next: this.#tickets.get(key) };
    this.#tickets.set(key, ticket);
    return ticket;
  }

  close(ticket: ReadTicket): void {
    const { key, next } = ticket;
    let before = this.#tickets.get(key);
    if (before === ticket) {
      if (next === undefined) this.#tickets.delete(key);
      else this.#tickets.set(key, next);
      return;
    }
    while (before !== undefined && before.next !== ticket) before = before.next;
    if (before !== undefined) before.next = next;
  }

  invalidate(key: string): void {
    for (let ticket = this.#tickets.get(key); ticket !== undefined; ticket = ticket.next) ticket.isCurrent = false;
  }

  flush(): void {
    for (const key of this.#tickets.keys()) this.invalidate(key);
  }
}
