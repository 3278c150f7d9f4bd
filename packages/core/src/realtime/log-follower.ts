import type { Channels } from "../store/ports/channels.js";
import type { EventLog, LogGap, LogPage, LogPlace, LoggedMessage, MessageId } from "../store/ports/event-log.js";
import { compareIds, isSameId, pageMessages, readAnnouncement, readId, writeId } from "../store/ports/event-log.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { Feed } from "./feed.js";
import { aliveMs } from "./feed.js";
import type { RecentMessage } from "./recent-messages.js";
import { RecentMessages } from "./recent-messages.js";
import type { MessageReader, Received, Subscriber } from "./subscribers.js";
import { Subscribers } from "./subscribers.js";
import { clearTimeout, setImmediate, setTimeout } from "../lib/real-timers.js";

export interface LogFollowerOptions<T> {
  readonly place: LogPlace;
  /** The name of the channel in {@link Channels}. */
  readonly channel: string;
  readonly channels: Channels;
  readonly log: EventLog;
  readonly reader: MessageReader<T>;
  readonly telemetry: Telemetry;
}

/** A subscriber that has not got all messages up to the position of this process. */
interface Resumption<T> {
  readonly subscriber: Subscriber<T>;
  /** The last message that it has got; undefined for an id that cannot be read. */
  cursor: MessageId | undefined;
}

/** Subscribers that get one page, before other work of the process has its turn. */
const groupSize = 64;
/** The log is looked at every so many ticks of a second, also if nothing is announced. */
const lookEvery = 5;
/** Subscribers that are not ready for missed messages are asked again after this time. */
const pauseMs = 25;

/**
 * Follows the log of one reliable channel for all subscribers of this process. An announcement that follows the last message
 * is delivered at once. After any other sign (an announcement that does not follow, a new connection, five seconds) the
 * process reads the log, one page at a time.
 *
 * Subscribers that resume are read for together: the one that is furthest behind decides about the page, and all whose last
 * message is in the page take part.
 */
export class LogFollower<T> implements Feed<T> {
  readonly #options: LogFollowerOptions<T>;
  readonly #recent = new RecentMessages<T>();
  /** Subscribers that have got everything up to the position. */
  readonly #live = new Subscribers<T>();
  readonly #resuming = new Set<Resumption<T>>();
  /** Subscribers from now on, before the position is known. */
  readonly #waiting = new Set<Subscriber<T>>();
  /** The last message of the log that this process has got; undefined before the log was looked at. */
  #position: MessageId | undefined;
  #mustLook = false;
  #isReading = false;
  #hasFailed = false;
  #ticks = 0;
  /** Another number after everybody has left: what was asked for before is not wanted. */
  #generation = 0;
  #stopListening: (() => void) | undefined;
  #pause: NodeJS.Timeout | undefined;

  constructor(options: LogFollowerOptions<T>) {
    this.#options = options;
  }

  get size(): number {
    return this.#live.size + this.#resuming.size + this.#waiting.size;
  }

  add(subscriber: Subscriber<T>): void {
    const { after } = subscriber.options;
    if (after !== undefined) this.#resuming.add({ subscriber, cursor: readId(after) });
    else if (this.#position === undefined) this.#waiting.add(subscriber);
    else this.#join(subscriber);
    if (this.#stopListening === undefined) this.#start();
    void this.#run();
  }

  delete(subscriber: Subscriber<T>): void {
    this.#live.delete(subscriber);
    this.#waiting.delete(subscriber);
    for (const one of this.#resuming) if (one.subscriber === subscriber) this.#resuming.delete(one);
    if (this.size > 0) return;
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#stopListening?.();
    this.#stopListening = undefined;
    this.#generation += 1;
    this.#position = undefined;
    this.#recent.reset(undefined);
    this.#mustLook = this.#hasFailed = false;
  }

  positionOf(subscriber: Subscriber<T>): string | undefined {
    return this.#position !== undefined && this.#live.has(subscriber) ? writeId(this.#position) : undefined;
  }

  /** Called every second. */
  tick(): void {
    this.#ticks += 1;
    if (this.#hasFailed || this.#ticks % lookEvery === 0) this.#look();
    const degraded = this.#hasFailed || !this.#options.channels.isAlive(aliveMs);
    for (const subscriber of this.#everybody()) subscriber.reportState(degraded);
  }

  #start(): void {
    const { channels, channel } = this.#options;
    this.#mustLook = true;
    this.#stopListening = channels.subscribe(
      channel,
      (message, own) => this.#hear(message, own),
      () => this.#look(),
    );
  }

  #look(): void {
    this.#mustLook = true;
    void this.#run();
  }

  #hear(text: string, own: boolean): void {
    const announcement = readAnnouncement(text);
    if (announcement === undefined) {
      this.#options.telemetry.messageArrived("garbage");
      return;
    }
    const { id, previous, body } = announcement;
    if (this.#position === undefined) {
      // The first look may have been answered before this message was kept.
      this.#mustLook = true;
      return;
    }
    const follows = isSameId(previous, this.#position) && compareIds(id, this.#position) > 0;
    if (follows) this.#accept({ id, own, body });
    else if (!this.#recent.has(id)) this.#look();
  }

  #accept(logged: LoggedMessage): void {
    const message: RecentMessage<T> = { logged, received: undefined };
    this.#position = logged.id;
    this.#recent.push(message);
    const received = this.#receivedOf(message);
    if (received !== undefined) this.#live.dispatch(received);
  }

  /** Reads what there is to read. Only one reading is in progress. */
  async #run(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    // No listener is called before subscribe() has returned.
    await Promise.resolve();
    try {
      for (;;) {
        if (this.#mustLook) await this.#advance();
        const next = this.#position === undefined ? undefined : furthestBehind(this.#resuming);
        if (next !== undefined) await this.#resume(next);
        else if (!this.#mustLook) break;
      }
      this.#hasFailed = false;
      // Those that remain are not ready.
      if (this.#resuming.size > 0 && this.#position !== undefined) this.#askAgain();
    } catch {
      // The next tick tries again. The breaker and the health of the store tell of the fault.
      this.#hasFailed = this.size > 0;
    } finally {
      this.#isReading = false;
    }
  }

  #askAgain(): void {
    this.#pause ??= setTimeout(() => {
      this.#pause = undefined;
      void this.#run();
    }, pauseMs).unref();
  }

  /** Reads one page after the position. */
  async #advance(): Promise<void> {
    this.#mustLook = false;
    const asked = this.#position;
    const page = await this.#read(asked);
    if (page === undefined) return;
    if (asked === undefined) {
      this.#moveTo(page.head);
      return;
    }
    const { messages, head } = page;
    const gap = gapOf(page, asked);
    if (gap !== undefined) {
      // Announcements may have moved the position meanwhile.
      if (!isSameId(asked, this.#position)) return this.#look();
      if (head === undefined) return this.#begin();
      this.#skip(gap, messages.length > 0 ? undefined : head);
    }
    for (const message of messages) if (this.#isNew(message.id)) this.#take(message);
    const last = messages.at(-1);
    if (last !== undefined && !isSameId(last.id, head)) this.#mustLook = true;
  }

  /** The store has lost the log. Begins another one, and looks again: its first messages may have come meanwhile. */
  async #begin(): Promise<void> {
    await this.#read(undefined);
    this.#mustLook = this.size > 0;
  }

  /** Messages are missing after the position. The head is the next position if no message follows. */
  #skip(gap: LogGap, position: MessageId | undefined): void {
    this.#position = position ?? this.#position;
    this.#recent.reset(position);
    this.#options.telemetry.channelGap(gap);
    for (const subscriber of this.#live.all()) subscriber.reportGap(gap);
  }

  #isNew(id: MessageId): boolean {
    return this.#position !== undefined && compareIds(id, this.#position) > 0;
  }

  #take(message: LoggedMessage): void {
    if (message.body !== "") this.#options.telemetry.messageArrived("read");
    this.#accept(message);
  }

  /** The position is known for the first time. */
  #moveTo(head: MessageId | undefined): void {
    this.#position = head;
    this.#recent.reset(head);
    for (const subscriber of this.#waiting) this.#join(subscriber);
    this.#waiting.clear();
  }

  #join(subscriber: Subscriber<T>): void {
    this.#live.add(subscriber);
    subscriber.markReady();
  }

  /** Delivers one page to the one that is furthest behind, and to others near it. */
  async #resume(lowest: Resumption<T>): Promise<void> {
    const { cursor } = lowest;
    if (cursor === undefined) {
      this.#endResumption(lowest, "lost");
      return;
    }
    const kept = this.#recent.after(cursor, pageMessages);
    if (kept !== undefined) {
      this.#serve(cursor, kept, undefined);
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      return;
    }
    const page = await this.#read(cursor);
    const position = this.#position;
    if (page === undefined || position === undefined) return;
    const gap = gapOf(page, cursor);
    if (gap === undefined && compareIds(cursor, position) > 0) {
      // The client was at a process that is ahead of this one.
      this.#mustLook = true;
      return;
    }
    const messages = page.messages
      .filter(({ id }) => compareIds(id, position) <= 0)
      .map((logged): RecentMessage<T> => ({ logged, received: undefined }));
    if (messages.length < page.messages.length) this.#mustLook = true;
    this.#recent.prepend(gap === undefined ? cursor : undefined, messages);
    this.#serve(cursor, messages, gap);
  }

  /** Delivers messages that follow a cursor to some of those that resume there, or within them. */
  #serve(cursor: MessageId, messages: readonly RecentMessage<T>[], gap: LogGap | undefined): void {
    const places = new Map<string, number>([[writeId(cursor), 0]]);
    for (const [index, { logged }] of messages.entries()) places.set(writeId(logged.id), index + 1);
    let served = 0;
    for (const resumption of [...this.#resuming]) {
      if (served === groupSize) return;
      const at = resumption.cursor === undefined ? undefined : places.get(writeId(resumption.cursor));
      if (at === undefined || !resumption.subscriber.isReady) continue;
      const isGap = at === 0 && gap !== undefined;
      const isAtEnd = at === messages.length;
      // The end of this page need not be that of the log.
      if (isAtEnd && !isGap && !isSameId(resumption.cursor, this.#position)) continue;
      served += 1;
      if (isGap && !isAtEnd) this.#reportGap(resumption.subscriber, gap);
      // Nothing follows it up to the position of this process.
      if (isAtEnd) this.#endResumption(resumption, isGap ? gap : undefined);
      else this.#deliver(resumption, messages.slice(at));
    }
    // The position has moved during the reading, or the log has lost its end.
    if (served === 0 && messages.length === 0) this.#mustLook = true;
  }

  #deliver(resumption: Resumption<T>, messages: readonly RecentMessage<T>[]): void {
    const { subscriber } = resumption;
    for (const message of messages) {
      if (!subscriber.active) return;
      resumption.cursor = message.logged.id;
      const received = this.#receivedOf(message);
      if (received !== undefined && subscriber.wants(received.message.topic)) subscriber.receive(received);
    }
    if (isSameId(resumption.cursor, this.#position)) this.#endResumption(resumption, undefined);
  }

  #endResumption(resumption: Resumption<T>, gap: LogGap | undefined): void {
    const { subscriber } = resumption;
    if (gap !== undefined) this.#reportGap(subscriber, gap);
    // It may have stopped at the gap.
    if (this.#resuming.delete(resumption)) this.#join(subscriber);
  }

  #reportGap(subscriber: Subscriber<T>, gap: LogGap): void {
    this.#options.telemetry.channelGap(gap);
    subscriber.reportGap(gap);
  }

  #receivedOf(message: RecentMessage<T>): Received<T> | undefined {
    const { logged } = message;
    if (logged.body === "") return undefined;
    message.received ??= this.#options.reader.readLogged(logged) ?? null;
    return message.received ?? undefined;
  }

  #everybody(): readonly Subscriber<T>[] {
    return [...this.#live.all(), ...this.#waiting, ...Array.from(this.#resuming, ({ subscriber }) => subscriber)];
  }

  /** Undefined if everybody has left meanwhile. */
  async #read(after: MessageId | undefined): Promise<LogPage | undefined> {
    const { log, place } = this.#options;
    const generation = this.#generation;
    const page = await log.read(place, after);
    return generation === this.#generation ? page : undefined;
  }
}

/** Somebody may also have deleted entries at the end of a log, which reads as no message. */
function gapOf({ messages, head, gap }: LogPage, after: MessageId): LogGap | undefined {
  if (gap !== undefined || messages.length > 0 || head === undefined) return gap;
  return compareIds(head, after) > 0 ? "trimmed" : undefined;
}

function furthestBehind<T>(resuming: ReadonlySet<Resumption<T>>): Resumption<T> | undefined {
  let lowest: Resumption<T> | undefined;
  for (const one of resuming) {
    if (!one.subscriber.isReady) continue;
    if (one.cursor === undefined) return one;
    if (lowest?.cursor === undefined || compareIds(one.cursor, lowest.cursor) < 0) lowest = one;
  }
  return lowest;
}
