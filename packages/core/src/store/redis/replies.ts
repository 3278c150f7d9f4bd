import { StoreFault } from "../ports/decisions.js";
import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";

/**
 * Readers of what Redis answers. A client that the application made decides about the types of replies: `stringNumbers` makes
 * integers text, RESP3 makes lists sets and maps, a reply transformer makes anything of anything. So a reply is parsed by
 * what it says and never compared by its type, and one that does not say what was asked for is a fault: it means neither
 * "no" nor 0.
 */

/** The word by which a {@link StoreFault} says that a client's reply was not understood, where a server's error has its own. */
export const unreadReply = "REPLY";

/** The fault of a reply that cannot be read. */
export function unreadable(): StoreFault {
  return new StoreFault("unreadable", unreadReply);
}

/** At most 16 digits; {@link Number.isSafeInteger} sees to the rest. Hexadecimal, exponents and blanks are no integers here. */
const integer = /^-?\d{1,16}$/;

/** An integer from `least` to 2^53 - 1; undefined for anything else. */
export function integerIn(reply: unknown, least: number): number | undefined {
  let value: number;
  if (typeof reply === "number") {
    value = reply;
  } else {
    const text = typeof reply === "bigint" ? reply.toString() : textIn(reply);
    if (text === undefined || !integer.test(text)) return undefined;
    value = Number(text);
  }
  // -0 is 0: nothing that is written with it may differ.
  return Number.isSafeInteger(value) && value >= least ? value + 0 : undefined;
}

/** Throws a {@link StoreFault} where there is no integer from `least` (0 if left out) to 2^53 - 1. */
export function readInteger(reply: unknown, least = 0): number {
  const value = integerIn(reply, least);
  if (value === undefined) throw unreadable();
  return value;
}

/** 1 as true and 0 as false; nothing else is an answer to a question of yes and no. */
export function readFlag(reply: unknown): boolean {
  const value = integerIn(reply, 0);
  if (value === undefined || value > 1) throw unreadable();
  return value === 1;
}

/** A finite number, which may have a fraction: a score of a sorted set. */
export function readNumber(reply: unknown): number {
  const text = textIn(reply);
  const value =
    typeof reply === "number" ? reply : text !== undefined && decimal.test(text) ? Number(text) : Number.NaN;
  if (!Number.isFinite(value)) throw unreadable();
  return value;
}

/** How Redis writes a double; "nan", "inf" and "0x10" are none that we have written. */
const decimal = /^-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?$/;

/** Text, from a string or bytes; undefined for anything else. */
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

/** The text of a value, or undefined for null: there is no value. */
export function readOptionalText(reply: unknown): string | undefined {
  return reply === null ? undefined : readText(reply);
}

/** A list, or the set that RESP3 has in its place. */
export function readList(reply: unknown): readonly unknown[] {
  if (Array.isArray(reply)) return reply;
  if (reply instanceof Set) return [...(reply as Set<unknown>)];
  throw unreadable();
}

/** A list of exactly so many elements: fewer or more are answers to another question. */
export function readListOf(reply: unknown, length: number): readonly unknown[] {
  const list = readList(reply);
  if (list.length !== length) throw unreadable();
  return list;
}

export function readTexts(reply: unknown): string[] {
  return readList(reply).map(readText);
}

/** Pairs: a flat list of names and values in turn, or a map as RESP3 has it, also where it became an object. */
export function readPairs(reply: unknown): [name: string, value: string][] {
  if (reply instanceof Map) return [...(reply as Map<unknown, unknown>)].map(readPair);
  if (isPlainObject(reply)) return Object.entries(reply).map(readPair);
  const list = readList(reply);
  // A transformer, or RESP3, may have made pairs of it already.
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

/** The seconds and microseconds of TIME, in unix milliseconds with a fraction. */
export function readTime(reply: unknown): number {
  const [seconds, micros] = readListOf(reply, 2);
  return readInteger(seconds) * 1000 + readInteger(micros) / 1000;
}

/** What a successful write says; false where a condition (NX) was in its way. */
export function readWritten(reply: unknown): boolean {
  const said = readOptionalText(reply);
  if (said !== undefined && said !== "OK") throw unreadable();
  return said === "OK";
}

/** Error words by which a server says that it cannot serve, as opposed to a value of a wrong type under one key. */
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

/**
 * The fault behind an error reply, of a whole call or of one part of a script's answer. Only the error's first word is
 * kept: the rest may quote arguments. ioredis even hangs the whole command, AUTH's password included, on its errors.
 */
export function faultOfReply(message: string): StoreFault {
  const word = /^-?([A-Z]+)/.exec(message)?.[1];
  if (word !== undefined && outages.has(word)) return new StoreFault("refused", word);
  if (/max number of clients/.test(message)) return new StoreFault("refused", "MAXCLIENTS");
  // A script error carries the word of the command that failed inside it.
  const inner = /\b(OOM|MISCONF|READONLY|NOPERM)\b/.exec(message)?.[1];
  return inner === undefined ? new StoreFault("unreadable", word ?? "ERR") : new StoreFault("refused", inner);
}

/** The fault behind a part of a script's answer that is not what was asked for: the text of an error, or nothing we know. */
export function faultOfPart(reply: unknown): StoreFault {
  const text = textIn(reply);
  return text !== undefined && /^-?[A-Z]+ /.test(text) ? faultOfReply(text) : unreadable();
}

/** The fault behind an error that ioredis threw. */
export function faultOfError(error: unknown): StoreFault {
  if (error instanceof StoreFault) return error;
  if (!(error instanceof Error)) return new StoreFault("unreachable");
  if (error.name === "ReplyError") return faultOfReply(error.message);
  return new StoreFault(error.message === "Command timed out" ? "timeout" : "unreachable");
}

/** What a value, or a reply, that cannot be read was about. */
export type UnreadablePart =
  | "batch"
  | "revocation"
  | "proof"
  | "limit"
  | "lease"
  | "rules"
  | "login"
  | "session"
  | "cache"
  | "marker"
  | "clock"
  | "tracking"
  | "other";

/** Told of a fault; passes over those that are no matter of reading. */
export type TellUnreadable = (part: UnreadablePart, error: unknown) => void;

const messages = {
  value: "portcullis: a value in Redis is not what belongs under its key",
  reply: "portcullis: a reply of the Redis client cannot be read; look at its options and reply transformers",
} as const;

/** Counts what cannot be read, and says it once for each part and reason: it may come with every request. */
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
