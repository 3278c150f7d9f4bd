import type { BreakerControl } from "../../lib/breaker.js";
import { steadyNow } from "../../lib/steady-clock.js";
import type { Channels } from "../ports/channels.js";
import type { EventLog, LogPage, LogPlace, LoggedMessage, MessageId } from "../ports/event-log.js";
import {
  compareIds,
  gapAfter,
  isSameId,
  newTag,
  pageCharacters,
  pageMessages,
  writeAnnouncement,
} from "../ports/event-log.js";

export interface MemoryEventLogOptions {
  readonly channels: Channels;
  /** Milliseconds of a monotonic clock. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** Maximum length of the bodies of one log. @default 16 Mi characters */
  readonly characters?: number | undefined;
}

interface KeptMessage {
  readonly id: MessageId;
  readonly body: string;
  readonly endsAt: number;
}

/** A log. The messages before `start` are gone; they are cut off now and then. */
interface Log {
  messages: KeptMessage[];
  start: number;
  characters: number;
  head: MessageId;
  readonly begunMs: number;
}

/** Logs within one process. A restart loses them; the tags of ids then show that they are others. */
export class MemoryEventLog implements EventLog {
  readonly breakers: readonly BreakerControl[] = [];
  readonly #channels: Channels;
  readonly #now: () => number;
  readonly #maxCharacters: number;
  /** By key. The application defines the channels, so their number is bounded. */
  readonly #logs = new Map<string, Log>();

  constructor({ channels, now = steadyNow, characters = 2 ** 24 }: MemoryEventLogOptions) {
    this.#channels = channels;
    this.#now = now;
    this.#maxCharacters = characters;
  }

  async append(place: LogPlace, body: string): Promise<MessageId> {
    await Promise.resolve();
    const previous = this.#logs.get(place.key)?.head;
    const id = this.#add(place, body);
    void this.#channels.publish(place.channel, writeAnnouncement({ id, previous, body }));
    return id;
  }

  async read(place: LogPlace, after: MessageId | undefined): Promise<LogPage> {
    await Promise.resolve();
    const log = this.#logs.get(place.key);
    if (log !== undefined) this.#trim(log, this.#now());
    if (after === undefined) return { messages: [], head: log?.head ?? this.#add(place, ""), gap: undefined };
    if (log === undefined) return { messages: [], head: undefined, gap: "lost" };
    const { messages, start, head, begunMs } = log;
    const from = firstAfter(messages, start, after);
    const isKnown = isSameId(messages[from - 1]?.id, after) && from > start;
    const gap =
      isKnown || isSameId(head, after) ? undefined : gapAfter(after, { head, first: messages[start]?.id, begunMs });
    const page: LoggedMessage[] = [];
    let characters = 0;
    for (let index = from; index < messages.length && page.length < pageMessages; index += 1) {
      const message = messages[index];
      if (message === undefined || characters >= pageCharacters) break;
      page.push({ id: message.id, own: true, body: message.body });
      characters += message.body.length;
    }
    return { messages: page, head, gap };
  }

  #add({ key, maxAgeMs, maxLength }: LogPlace, body: string): MessageId {
    const log = this.#logs.get(key);
    const now = this.#now();
    const id = nextId(log?.head);
    const message = { id, body, endsAt: now + maxAgeMs };
    if (log === undefined) {
      this.#logs.set(key, { messages: [message], start: 0, characters: body.length, head: id, begunMs: id.ms });
      return id;
    }
    log.messages.push(message);
    log.characters += body.length;
    log.head = id;
    this.#trim(log, now, maxLength);
    return id;
  }

  #trim(log: Log, now: number, maxLength: number = Number.POSITIVE_INFINITY): void {
    for (;;) {
      const first = log.messages[log.start];
      if (first === undefined) break;
      const count = log.messages.length - log.start;
      if (first.endsAt > now && count <= maxLength && log.characters <= this.#maxCharacters) break;
      log.characters -= first.body.length;
      log.start += 1;
    }
    if (log.start < 1024 && log.start < log.messages.length) return;
    log.messages = log.messages.slice(log.start);
    log.start = 0;
  }
}

function nextId(head: MessageId | undefined): MessageId {
  const ms = Date.now();
  return head === undefined || ms > head.ms
    ? { ms, number: 0, tag: newTag() }
    : { ms: head.ms, number: head.number + 1, tag: newTag() };
}

/** The index of the first message that comes after an id. */
function firstAfter(messages: readonly KeptMessage[], start: number, after: MessageId): number {
  let [low, high] = [start, messages.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const message = messages[middle];
    if (message !== undefined && compareIds(message.id, after) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
