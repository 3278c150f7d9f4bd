import { mayBeLostDuring } from "../history.js";
import type { History, Operation, Stream, Told } from "../history.js";
import { settleMs } from "../settings.js";
import type { Violation } from "./violation.js";
import { count, groupBy, text } from "./violation.js";

type Message = Extract<Told, { kind: "message" }>;

/** All that one reader was told, over all of its streams, each of which began after the end of the one before. */
interface Reading {
  readonly client: string;
  readonly topics: readonly string[];
  readonly told: readonly Told[];
  readonly streams: readonly Stream[];
}

function readingsOf({ streams }: History): Reading[] {
  return [...groupBy(streams, ({ client }) => client)].flatMap(([client, own]) => {
    const ordered = [...own].sort((one, other) => one.start - other.start);
    const [first] = ordered;
    if (first?.resumes !== true) return [];
    return [{ client, topics: first.topics, told: ordered.flatMap(({ told }) => told), streams: ordered }];
  });
}

/** The place of an id in its log. Tags are random, so that they say nothing of the order. */
function compareIds(one: string, other: string): number {
  const [[ms = 0, number = 0], [otherMs = 0, otherNumber = 0]] = [placeOf(one), placeOf(other)];
  return ms - otherMs || number - otherNumber;
}

function placeOf(id: string): number[] {
  return id.split("-").slice(0, 2).map(Number);
}

/**
 * A part of the log that a reader was promised to have been given whole: from one id that it was told to the next. Where a gap
 * was told in between, nothing is promised.
 */
interface Span {
  readonly after: string;
  readonly upTo: string;
}

function spansOf({ told }: Reading): Span[] {
  const spans: Span[] = [];
  let after: string | undefined;
  for (const one of told) {
    if (one.kind !== "gap" && after !== undefined) spans.push({ after, upTo: one.id });
    after = one.kind === "gap" ? undefined : one.id;
  }
  return spans;
}

/** A message that is known to have been in the log: its publisher was told so, or a reader got it. */
interface Known {
  readonly id: string;
  readonly topic: string;
  readonly name: string;
  /** It was written at some time between these. */
  readonly from: number;
  readonly until: number;
  readonly evidence: Operation | undefined;
}

function nameOf({ publisher, number }: { readonly publisher: string; readonly number: number }): string {
  return `${publisher} ${number}`;
}

function postsOf({ operations }: History): Map<string, Operation> {
  const posts = operations.filter(({ name }) => name === "publish");
  return new Map(posts.map((one) => [`${text(one.args, "publisher")} ${count(one.args, "number")}`, one]));
}

function messagesOf({ told }: Reading): Message[] {
  return told.filter((one): one is Message => one.kind === "message");
}

function knownIn(history: History, readings: readonly Reading[]): Known[] {
  const known = new Map<string, Known>();
  const posts = postsOf(history);
  for (const [name, post] of posts) {
    const id = text(post.answer, "id");
    if (post.status !== 200 || id === "") continue;
    known.set(id, { id, name, topic: text(post.args, "topic"), from: post.start, until: post.end, evidence: post });
  }
  for (const message of readings.flatMap(messagesOf)) {
    const { id, topic, at } = message;
    if (known.has(id)) continue;
    const name = nameOf(message);
    const post = posts.get(name);
    known.set(id, { id, name, topic, from: post?.start ?? at, until: at, evidence: post });
  }
  return [...known.values()].sort((one, other) => compareIds(one.id, other.id));
}

/** The part of a sorted list that lies within a span. */
function within(known: readonly Known[], { after, upTo }: Span): readonly Known[] {
  let [low, high] = [0, known.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const one = known[middle];
    if (one !== undefined && compareIds(one.id, after) <= 0) low = middle + 1;
    else high = middle;
  }
  const found: Known[] = [];
  for (let index = low; index < known.length; index += 1) {
    const one = known[index];
    if (one === undefined || compareIds(one.id, upTo) > 0) break;
    found.push(one);
  }
  return found;
}

interface Missing {
  readonly reading: Reading;
  readonly message: Known;
  readonly span: Span;
}

function missingIn(readings: readonly Reading[], known: readonly Known[]): Missing[] {
  return readings.flatMap((reading) => {
    const has = new Set(messagesOf(reading).map(({ id }) => id));
    return spansOf(reading).flatMap((span) =>
      within(known, span)
        .filter(({ id, topic }) => reading.topics.includes(topic) && !has.has(id))
        .map((message) => ({ reading, message, span })),
    );
  });
}

/** The streams in which a reader was told these ids. */
function streamsOf({ streams }: Reading, { after, upTo }: Span): Stream[] {
  return streams
    .filter(({ told }) => told.some((one) => one.kind !== "gap" && (one.id === after || one.id === upTo)))
    .map(brief);
}

/** A stream without the messages that it told, for a report. */
function brief(stream: Stream): Stream {
  return { ...stream, told: stream.told.slice(-3) };
}

/**
 * Every message that was confirmed, or that any reader has got, has come to every reader of its topic that was told an id
 * before it and an id behind it, unless the reader was told of a gap in between. A failover may lose what was confirmed
 * just before it: for those who had not got it nothing tells of that.
 */
export function checkNoEventIsLost(history: History): Violation[] {
  const readings = readingsOf(history);
  return missingIn(readings, knownIn(history, readings))
    .filter(({ message: { from, until } }) => !mayBeLostDuring(history, from, until))
    .map(({ reading, message, span }) => ({
      property: "no event is lost",
      message: `${reading.client} did not get ${message.name} (${message.id}), between ${span.after} and ${span.upTo}`,
      at: message.until,
      evidence: [...(message.evidence === undefined ? [] : [message.evidence]), ...streamsOf(reading, span)],
    }));
}

/** Who has got what a failover has lost is told of the loss before the next message. */
export function checkLossesAreTold(history: History): Violation[] {
  const readings = readingsOf(history);
  const lost = new Set(
    missingIn(readings, knownIn(history, readings))
      .filter(({ message: { from, until } }) => mayBeLostDuring(history, from, until))
      .map(({ message }) => message.id),
  );
  return readings.flatMap((reading) =>
    reading.told.flatMap((one, index) => {
      if (one.kind !== "message" || !lost.has(one.id)) return [];
      const next = reading.told.slice(index + 1).find((later) => later.kind === "gap" || !lost.has(later.id));
      if (next === undefined || next.kind === "gap") return [];
      const message = `${reading.client} was not told that ${nameOf(one)} (${one.id}) is lost`;
      return [{ property: "losses are told", message, at: next.at, evidence: streamsOf(reading, spanAt(one, next)) }];
    }),
  );
}

function spanAt(one: Message, next: Exclude<Told, { kind: "gap" }>): Span {
  return { after: one.id, upTo: next.id };
}

/** A reader gets a message once, in the order of the log, and what one publisher had confirmed in the order of publishing. */
export function checkOrderAndOnce(history: History): Violation[] {
  const posts = postsOf(history);
  return readingsOf(history).flatMap((reading) => {
    const got = new Set<string>();
    const numbers = new Map<string, number>();
    let last: string | undefined;
    return reading.told.flatMap((one): Violation[] => {
      if (one.kind === "gap") {
        // The log may be another one, whose ids are lower.
        last = undefined;
        return [];
      }
      const found = (message: string): Violation => ({
        property: "events come once and in order",
        message: `${reading.client} ${message}`,
        at: one.at,
        evidence: streamsOf(reading, { after: last ?? one.id, upTo: one.id }),
      });
      const violations: Violation[] = [];
      const order = last === undefined ? 1 : compareIds(one.id, last);
      if (order < 0 || (order === 0 && one.kind === "message")) violations.push(found(`got ${one.id} after ${last}`));
      last = one.id;
      if (one.kind !== "message") return violations;
      const name = nameOf(one);
      if (got.has(name)) violations.push(found(`got ${name} twice`));
      got.add(name);
      const post = posts.get(name);
      if (post?.status !== 200) return violations;
      if (text(post.answer, "id") !== one.id) violations.push(found(`got ${name} with another id than its publisher`));
      const before = numbers.get(one.publisher) ?? -1;
      if (before > one.number) violations.push(found(`got ${name} after number ${before}`));
      numbers.set(one.publisher, one.number);
      return violations;
    });
  });
}

/** A gap is told where a failover may have lost the end of the log, and nowhere else: the log keeps all that a run publishes. */
export function checkGapsAreTrue(history: History): Violation[] {
  return readingsOf(history).flatMap((reading) => {
    let knownAt = reading.streams[0]?.start ?? 0;
    return reading.told.flatMap((one) => {
      const since = knownAt;
      knownAt = one.at;
      if (one.kind !== "gap" || mayBeLostDuring(history, since - settleMs, one.at)) return [];
      const message = `${reading.client} was told of a gap (${one.reason}), and nothing can be missing`;
      const around = reading.streams.filter(({ start, end }) => start <= one.at && end >= since).map(brief);
      return [{ property: "no gap is told for nothing", message, at: one.at, evidence: around }];
    });
  });
}

/** When the faults are over, publishing works, and every reader gets what is published then. */
export function checkEverybodyCatchesUp(history: History): Violation[] {
  const { operations, streams } = history;
  const property = "every reader catches up";
  const marks = operations.filter(({ name, args }) => name === "publish" && args.publisher === "marker");
  const readings = readingsOf(history);
  return [...groupBy(marks, ({ args }) => String(count(args, "calm")))].flatMap(([, attempts]): Violation[] => {
    const mark = attempts.find(({ status }) => status === 200);
    const [first] = attempts;
    if (mark === undefined) {
      return first === undefined
        ? []
        : [{ property, message: "nothing could be published", at: first.start, evidence: attempts }];
    }
    const calm = count(mark.args, "calm");
    return readings
      .filter(({ client }) => streams.some((one) => one.client === client && one.look === calm))
      .filter((reading) => !messagesOf(reading).some(({ id }) => id === mark.answer.id))
      .map((reading) => ({
        property,
        message: `${reading.client} did not get what was published when all was well`,
        at: mark.end,
        evidence: [mark, ...reading.streams.filter(({ look }) => look === calm).map(brief)],
      }));
  });
}

/** Nobody gets an event of a topic that is not of this stream, and nobody a stream of another user's topic. */
export function checkOwnTopics({ streams }: History): Violation[] {
  return streams.flatMap((stream) => {
    const foreign = stream.told.find((one) => one.kind === "message" && !stream.topics.includes(one.topic));
    const isOpen = stream.foreign && stream.status === 200;
    if (!isOpen && foreign === undefined) return [];
    const message = isOpen ? "got a stream of a topic of another user" : "got an event of a topic of another user";
    const evidence = [{ ...stream, told: foreign === undefined ? [] : [foreign] }];
    return [
      { property: "no event of another user", message: `${stream.client} ${message}`, at: stream.start, evidence },
    ];
  });
}
