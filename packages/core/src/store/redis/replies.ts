import type { Breaker } from "../../lib/breaker.js";
import { StoreFault } from "../ports/fault.js";
import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";

/**
 * Readers of replies of Redis, and the faults of replies and errors. The client of an application decides about the
 * types of replies: `stringNumbers` makes text of integers, RESP3 makes sets and maps of lists, and a reply transformer
 * may make anything. So a reply is parsed, and never compared by its type. A reply that cannot be read is a fault: it
 * means neither "no" nor 0.
 */

/**
 * The word of a {@link StoreFault} for a reply that cannot be read. Errors of a server have words of their own.
 */
export const unreadReply = "REPLY";

/** The fault of a reply that cannot be read. */
export function unreadable(): StoreFault {
  return new StoreFault("unreadable", unreadReply);
}

/**
 * At most 16 digits; {@link Number.isSafeInteger} checks the range. Hexadecimal numbers, exponents and blanks are
 * refused.
 */
const integer = /^-?\d{1,16}$/;

/** Reads an integer from `min` to 2^53 - 1; undefined for anything else. */
export function integerIn(reply: unknown, min: number): number | undefined {
  let value: number;
  if (typeof reply === "number") {
    value = reply;
  } else {
    const text = typeof reply === "bigint" ? reply.toString() : textIn(reply);
    if (text === undefined || !integer.test(text)) return undefined;
    value = Number(text);
  }
  // -0 becomes 0, so that its text is the same.
  return Number.isSafeInteger(value) && value >= min ? value + 0 : undefined;
}

/** Reads an integer from `min` to 2^53 - 1. Throws a {@link StoreFault} for anything else. */
export function readInteger(reply: unknown, min = 0): number {
  const value = integerIn(reply, min);
  if (value === undefined) throw unreadable();
  return value;
}

/** Reads 1 as true and 0 as false. Throws for anything else. */
export function readFlag(reply: unknown): boolean {
  const value = integerIn(reply, 0);
  if (value === undefined || value > 1) throw unreadable();
  return value === 1;
}

/** Reads a finite number with or without a fraction, such as the score of a sorted set. */
export function readNumber(reply: unknown): number {
  const text = textIn(reply);
  const value =
    typeof reply === "number" ? reply : text !== undefined && decimal.test(text) ? Number(text) : Number.NaN;
  if (!Number.isFinite(value)) throw unreadable();
  return value;
}

/** The format of a double in Redis. Portcullis never writes "nan", "inf" or "0x10". */
const decimal = /^-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?$/;

/** Reads text from a string or bytes; undefined for anything else. */
export function textIn(reply: unknown): string | undefined {
  if (typeof reply === "string") return reply;
  return reply instanceof Uint8Array
    ? Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength).toString()
    : undefined;
}

export function readText(reply: unknown): string {
  const text = textIn(reply);
  if (text === undefined) throw unreadable();
  return text;
}

/** Reads the text of a value; undefined for null, which means no value. */
export function readOptionalText(reply: unknown): string | undefined {
  return reply === null ? undefined : readText(reply);
}

/** Reads a list, or a set of RESP3. */
export function readList(reply: unknown): readonly unknown[] {
  if (Array.isArray(reply)) return reply;
  if (reply instanceof Set) return [...(reply as Set<unknown>)];
  throw unreadable();
}

/** Reads a list of whole numbers: a list, or their doubles in turn, as `packLua` writes them. */
export function readNumbers(reply: unknown): readonly unknown[] {
  if (!(reply instanceof Uint8Array)) return readList(reply);
  const { buffer, byteOffset, byteLength } = reply;
  if (byteLength % 8 !== 0) throw unreadable();
  const doubles = new DataView(buffer, byteOffset, byteLength);
  const numbers: number[] = [];
  for (let at = 0; at < byteLength; at += 8) numbers.push(Math.trunc(doubles.getFloat64(at, true)));
  return numbers;
}

/** Reads a list of exactly this length. */
export function readListOf(reply: unknown, length: number): readonly unknown[] {
  const list = readList(reply);
  if (list.length !== length) throw unreadable();
  return list;
}

export function readTexts(reply: unknown): string[] {
  return readList(reply).map(readText);
}

/** Reads pairs: a flat list of names and values in turn, or a map of RESP3, also as an object. */
export function readPairs(reply: unknown): [name: string, value: string][] {
  if (reply instanceof Map) return [...(reply as Map<unknown, unknown>)].map(readPair);
  if (isPlainObject(reply)) return Object.entries(reply).map(readPair);
  const list = readList(reply);
  // RESP3 or a reply transformer may have made pairs already.
  if (list.length > 0 && list.every(Array.isArray)) return list.map((pair) => readPair(readListOf(pair, 2)));
  if (list.length % 2 !== 0) throw unreadable();
  const pairs: [string, string][] = [];
  for (let index = 0; index < list.length; index += 2) pairs.push(readPair([list[index], list[index + 1]]));
  return pairs;
}

function readPair([name, value]: readonly unknown[]): [name: string, value: string] {
  return [readText(name), typeof value === "number" ? String(value) : readText(value)];
}

function isPlainObject(reply: unknown): reply is Readonly<Record<string, unknown>> {
  return (
    typeof reply === "object" && reply !== null && !Array.isArray(reply) && !(reply instanceof Set) && !textIn(reply)
  );
}

/** Reads the reply of TIME, in unix milliseconds with a fraction. */
export function readTime(reply: unknown): number {
  const [seconds, micros] = readListOf(reply, 2);
  return readInteger(seconds) * 1000 + readInteger(micros) / 1000;
}

/** Reads the reply of a write; false if a condition (NX) prevented it. */
export function readWritten(reply: unknown): boolean {
  const said = readOptionalText(reply);
  if (said !== undefined && said !== "OK") throw unreadable();
  return said === "OK";
}

/** Error words of a server that cannot serve, in contrast to a value of a wrong type under one key. */
const outages = new Set([
  "OOM",
  "MISCONF",
  "READONLY",
  "LOADING",
  "BUSY",
  "MASTERDOWN",
  "CLUSTERDOWN",
  "NOREPLICAS",
  "NOAUTH",
  "WRONGPASS",
  "NOPERM",
  "TRYAGAIN",
  "UNBLOCKED",
]);

/** The user may run a script, but not this command of it, or not on this key. Redis gives these errors the word ERR. */
const scriptForbidden = /The user executing the script can't (?:run|access)\b/;
/** A script in a Cluster asks for a key that has moved already, while its slot moves to another node. */
const slotMoving = /Script attempted to access a non local key\b/;

/**
 * Phrases of errors without a word of their own, as hosting plans, proxies and other servers send them. A fault names
 * them, so that an operator learns more than ERR: the rest of an error may quote arguments.
 */
const phrases: readonly (readonly [pattern: RegExp, phrase: string])[] = [
  [/max number of clients/i, "MAXCLIENTS"],
  [
    /unknown (?:redis )?(?:sub)?command|unsupported command|command is not (?:allowed|available|supported)/i,
    "ERR unknown command",
  ],
  [/limit exceeded|quota/i, "ERR limit exceeded"],
  [/undeclared key/i, "ERR undeclared key"],
  [/upstream failure|no upstream host|upstream protocol error/i, "ERR upstream failure"],
  [/cluster support disabled/i, "ERR cluster disabled"],
];

/** Errors about the value of one key, or an argument: the server itself works. */
const ofOneKey =
  /^-?(?:WRONGTYPE|NOSCRIPT|NOGROUP|BUSYKEY|BUSYGROUP)\b|\b(?:value|weight) is not (?:an integer|a valid float)|would overflow|not a number \(NaN\)|exceeds maximum|WRONGTYPE Operation against a key/;

/**
 * The fault of an error reply of one part of a script's answer. Only the first word of the error is kept: the rest may
 * quote arguments. ioredis even adds the whole command, with the password of AUTH, to its errors.
 */
export function faultOfReply(message: string): StoreFault {
  const word = /^-?([A-Z]+)/.exec(message)?.[1];
  if (word !== undefined && outages.has(word)) return new StoreFault("refused", word);
  if (scriptForbidden.test(message)) return new StoreFault("refused", "NOPERM");
  if (slotMoving.test(message)) return new StoreFault("refused", "TRYAGAIN");
  // A script error contains the word of the command that has failed.
  const inner = /\b(OOM|MISCONF|READONLY|NOPERM)\b/.exec(message)?.[1];
  if (inner !== undefined) return new StoreFault("refused", inner);
  const phrase = ofOneKey.test(message) ? undefined : phrases.find(([pattern]) => pattern.test(message))?.[1];
  return phrase === undefined ? new StoreFault("unreadable", word ?? "ERR") : new StoreFault("refused", phrase);
}

/**
 * The fault of an error reply to a whole call. It is an outage with any words, since the same call would fail for every
 * key, except where it is about the value of one key.
 */
function faultOfCall(message: string): StoreFault {
  const fault = faultOfReply(message);
  return fault.outage || ofOneKey.test(message) ? fault : new StoreFault("refused", fault.reply);
}

/**
 * The fault of a part of a script's answer that is the text of an error, or that cannot be read.
 */
export function faultOfPart(reply: unknown): StoreFault {
  const text = textIn(reply);
  return text !== undefined && /^-?[A-Z]+ /.test(text) ? faultOfReply(text) : unreadable();
}

/** The fault of an error that ioredis has thrown. */
export function faultOfError(error: unknown): StoreFault {
  if (error instanceof StoreFault) return error;
  if (!(error instanceof Error)) return new StoreFault("unreachable");
  if (error.name === "ReplyError") return faultOfCall(error.message);
  // The client of a Cluster has repeated the call, and tells the last reply.
  const last = /^Too many Cluster redirections\. Last error: ReplyError: (.*)/.exec(error.message)?.[1];
  if (last !== undefined) return faultOfCall(last);
  return new StoreFault(error.message === "Command timed out" ? "timeout" : "unreachable");
}

/** Tells a breaker how a call has ended. That too many calls wait for the connection says nothing about Redis. */
export function tellBreaker(breaker: Breaker, fault: StoreFault | undefined): void {
  if (fault?.kind === "overloaded") breaker.abandon();
  else if (fault?.outage === true) breaker.fail();
  else breaker.succeed();
}

/**
 * Throws the fault of a call on keys and values that clients choose, such as those of a cache. An error with unknown
 * words may be about these, and is then no outage.
 */
export function throwFaultOfClientKeys(error: unknown): never {
  if (error instanceof Error && error.name === "ReplyError") throw faultOfReply(error.message);
  throw faultOfError(error);
}

/** The subject of a value or reply that cannot be read, as metrics name it. */
export type UnreadablePart =
  | "batch"
  | "revocation"
  | "proof"
  | "limit"
  | "lease"
  | "rules"
  | "login"
  | "idempotency"
  | "session"
  | "cache"
  | "lock"
  | "one-time"
  | "event-log"
  | "marker"
  | "clock"
  | "tracking"
  | "examination"
  | "other";

/** Reports a fault. Faults of infrastructure are ignored. */
export type TellUnreadable = (part: UnreadablePart, error: unknown) => void;

const messages = {
  value: "portcullis: a value in Redis is not what belongs under its key",
  reply: "portcullis: a reply of the Redis client cannot be read; look at its options and reply transformers",
} as const;

/**
 * Counts values and replies that cannot be read, and logs each part and reason once: they may come with every request.
 */
export function createUnreadableReport(logger: Logger, telemetry: Telemetry): TellUnreadable {
  const said = new Set<string>();
  return function tellUnreadable(part, error) {
    const fault = faultOfError(error);
    if (fault.outage) return;
    const reason = fault.reply === unreadReply ? "reply" : "value";
    telemetry.unreadable(part, reason);
    const key = `${part} ${reason}`;
    if (said.has(key)) return;
    said.add(key);
    logger.warn({ part, reason: fault.reply }, messages[reason]);
  };
}
