import type { LoggedMessage, MessageId } from "../store/ports/event-log.js";
import { compareIds, isSameId } from "../store/ports/event-log.js";
import type { Received } from "./subscribers.js";

/** A message in the memory of this process. It is parsed once, when somebody wants it. */
export interface RecentMessage<T> {
  readonly logged: LoggedMessage;
  /** Null for a message that cannot be read. */
  received: Received<T> | null | undefined;
}

const maxMessages = 1024;
const maxCharacters = 2 ** 21;

/**
 * The latest messages of one log, without a gap between them, up to the position of this process. A client that resumes
 * after one of them costs the store nothing.
 */
export class RecentMessages<T> {
  #messages: RecentMessage<T>[] = [];
  #start = 0;
  #characters = 0;
  /** The message before the first one here. */
  #before: MessageId | undefined;

  /** Forgets everything. The next message follows this one. */
  reset(before: MessageId | undefined): void {
    this.#messages = [];
    this.#start = this.#characters = 0;
    this.#before = before;
  }

  push(message: RecentMessage<T>): void {
    this.#messages.push(message);
    this.#characters += lengthOf(message);
    while (this.#messages.length - this.#start > maxMessages || this.#characters > maxCharacters) {
      const first = this.#messages[this.#start];
      if (first === undefined) break;
      this.#characters -= lengthOf(first);
      this.#before = first.logged.id;
      this.#start += 1;
    }
    if (this.#start < maxMessages) return;
    this.#messages = this.#messages.slice(this.#start);
    this.#start = 0;
  }

  /**
   * Adds earlier messages if the one before the first one here is among them. They follow the message `before`, if that is
   * known.
   */
  prepend(before: MessageId | undefined, earlier: readonly RecentMessage<T>[]): void {
    if (this.#before === undefined) return;
    const end = earlier.findIndex(({ logged }) => isSameId(logged.id, this.#before));
    const fitting: RecentMessage<T>[] = [];
    for (let index = end; index >= 0; index -= 1) {
      const message = earlier[index];
      const previous = index > 0 ? earlier[index - 1]?.logged.id : before;
      if (message === undefined || previous === undefined || !this.#hasRoom(fitting.length, message)) break;
      fitting.push(message);
      this.#characters += lengthOf(message);
      this.#before = previous;
    }
    if (fitting.length === 0) return;
    this.#messages = [...fitting.reverse(), ...this.#messages.slice(this.#start)];
    this.#start = 0;
  }

  /** Some of the messages after this one; undefined if it is not known here. */
  after(id: MessageId, limit: number): RecentMessage<T>[] | undefined {
    if (isSameId(id, this.#before)) return this.#messages.slice(this.#start, this.#start + limit);
    let [low, high] = [this.#start, this.#messages.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const message = this.#messages[middle];
      if (message !== undefined && compareIds(message.logged.id, id) < 0) low = middle + 1;
      else high = middle;
    }
    if (!isSameId(this.#messages[low]?.logged.id, id)) return undefined;
    return this.#messages.slice(low + 1, low + 1 + limit);
  }

  has(id: MessageId): boolean {
    return this.after(id, 0) !== undefined;
  }

  #hasRoom(more: number, message: RecentMessage<T>): boolean {
    return (
      this.#messages.length - this.#start + more < maxMessages && this.#characters + lengthOf(message) <= maxCharacters
    );
  }
}

function lengthOf({ logged }: RecentMessage<unknown>): number {
  return logged.body?.length ?? 0;
}
