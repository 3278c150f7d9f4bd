import { randomBytes } from "node:crypto";
import type { BreakerControl } from "../../lib/breaker.js";

/** The log of one channel: where its messages are kept. */
export interface LogPlace {
  /** The key of the messages. */
  readonly key: string;
  /** The key of the id of the last message, in the hash slot of `key`. It outlives the messages. */
  readonly headKey: string;
  /** The channel on which each new message is announced. */
  readonly channel: string;
  /** About so many messages are kept. */
  readonly maxLength: number;
  /** About so long a message is kept. */
  readonly maxAgeMs: number;
}

/** A message of a log. */
export interface LoggedMessage {
  readonly id: MessageId;
  /** Has this process appended it? */
  readonly own: boolean;
  /** Empty for the first entry of a log, which is no message. Undefined for an entry that no release has written. */
  readonly body: string | undefined;
}

/**
 * The id of a message: a time, a number within that time, and a random tag. Time and number give the order. The tag tells a
 * message from another one with the same time and number, which a log that was lost may have had.
 */
export interface MessageId {
  readonly ms: number;
  readonly number: number;
  /** Empty for an entry that no release has written. */
  readonly tag: string;
}

/**
 * Why messages may be missing. `trimmed`: the log no longer keeps them. `lost`: the log does not know the last message, since
 * the store was emptied, a failover lost its end, or the id is of another log.
 */
export type LogGap = "trimmed" | "lost";

/** Messages that follow another one. */
export interface LogPage {
  readonly messages: readonly LoggedMessage[];
  /** The last message of the log; undefined for a log without messages. It is not in this page if more of them follow. */
  readonly head: MessageId | undefined;
  /** Are messages missing between the given one and this page? */
  readonly gap: LogGap | undefined;
}

/**
 * Logs of messages. Each message is kept, and announced on a channel together with the id of the message before it. A reader
 * that misses an announcement reads the log.
 *
 * All methods reject with a StoreFault if the store does not answer. The message of an `append` that rejects may have been
 * kept nevertheless.
 */
export interface EventLog {
  /** Appends a message and announces it. */
  append(place: LogPlace, body: string): Promise<MessageId>;
  /**
   * Reads some of the messages that follow a message, in order. An empty page without a gap says that none follows. Without
   * `after` it reads the head alone, and begins the log if there is none.
   */
  read(place: LogPlace, after: MessageId | undefined): Promise<LogPage>;
  /** Empty for a log in process. */
  readonly breakers: readonly BreakerControl[];
}

/** Maximum number of messages in a page. */
export const pageMessages = 256;
/** A page that has so many characters gets no further message. */
export const pageCharacters = 262_144;

/** The id of the last message outlives the messages, so that a resume after them finds that none is missing. */
export const headMs: number = 30 * 86_400_000;

export function newTag(): string {
  return randomBytes(6).toString("hex");
}

/** Negative if the first id comes before the other one. */
export function compareIds(one: MessageId, other: MessageId): number {
  return one.ms - other.ms || one.number - other.number;
}

export function isSameId(one: MessageId | undefined, other: MessageId | undefined): boolean {
  return one?.ms === other?.ms && one?.number === other?.number && one?.tag === other?.tag;
}

export function writeId({ ms, number, tag }: MessageId): string {
  return `${ms}-${number}-${tag}`;
}

const idForm = /^(0|[1-9]\d{0,14})-(0|[1-9]\d{0,14})-([0-9a-f]{12})$/;

/** Undefined for a text that is no id. */
export function readId(text: string): MessageId | undefined {
  const match = text.length <= 64 ? idForm.exec(text) : null;
  if (match === null) return undefined;
  const [, ms, number, tag = ""] = match;
  return { ms: Number(ms), number: Number(number), tag };
}

/** The announcement of a new message. */
export interface Announcement {
  readonly id: MessageId;
  /** The message before; undefined for the first one of a log. */
  readonly previous: MessageId | undefined;
  readonly body: string;
}

/** Writes `<id> <previous> <body>`, as the script in Redis does. */
export function writeAnnouncement({ id, previous, body }: Announcement): string {
  return `${writeId(id)} ${previous === undefined ? "" : writeId(previous)} ${body}`;
}

/** Undefined for a text that is no announcement. */
export function readAnnouncement(text: string): Announcement | undefined {
  const first = text.indexOf(" ");
  const second = text.indexOf(" ", first + 1);
  if (first === -1 || second === -1) return undefined;
  const id = readId(text.slice(0, first));
  const before = text.slice(first + 1, second);
  const previous = before === "" ? undefined : readId(before);
  if (id === undefined || (before !== "" && previous === undefined)) return undefined;
  return { id, previous, body: text.slice(second + 1) };
}

/** The extent of a log. */
export interface LogState {
  /** Undefined for a log without messages. */
  readonly head: MessageId | undefined;
  /** The first message that is kept. */
  readonly first: MessageId | undefined;
  /** When the log began, in the time of its ids. */
  readonly begunMs: number;
}

/** Why messages are missing after an id that the log does not know. */
export function gapAfter(after: MessageId, { head, first, begunMs }: LogState): LogGap {
  if (head === undefined || after.ms < begunMs || compareIds(after, head) >= 0) return "lost";
  return first === undefined || compareIds(after, first) < 0 ? "trimmed" : "lost";
}
