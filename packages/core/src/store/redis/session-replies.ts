import { StoreFault } from "../ports/fault.js";
import type { Created, LiveToken, SessionRecord, StoredSession } from "../ports/sessions.js";
import { readInteger, readNumber, readPairs, readText, unreadable } from "./replies.js";

// The replies of the scripts about sessions (scripts/sessions.ts), and the records in them.

/** Id and record of a session. */
export type Pair = readonly [name: string, value: string];

/** The reply of a script with ended sessions, which the caller must finish. */
export interface Unfinished<Outcome> {
  readonly outcome: Outcome;
  /** Id and record of each session. */
  readonly pairs: readonly Pair[];
}

export function readCreated(
  reply: readonly unknown[],
): Exclude<Created, { outcome: "created" }> | Unfinished<"created"> {
  const [said, ...rest] = reply;
  const outcome = readText(said);
  if (outcome === "full" || outcome === "late") return { outcome };
  if (outcome === "behind") return { outcome, ended: readInteger(rest[0]) };
  if (outcome !== "created") throw unreadable();
  return { outcome, pairs: readPairs(rest) };
}

export function readEnded([said, ...pairs]: readonly unknown[]): Pair[] {
  if (said !== "ended") throw unreadable();
  return readPairs(pairs);
}

export type RotateReply =
  | { readonly outcome: "missing" }
  | { readonly outcome: "late" }
  | Unfinished<"reused" | "over">
  | {
      readonly outcome: "rotated" | "repeated";
      readonly record: SessionRecord;
      readonly surplus: readonly LiveToken[];
    };

export function readRotated(reply: readonly unknown[]): RotateReply {
  const [said, ...rest] = reply;
  const outcome = readText(said);
  if (outcome === "missing" || outcome === "late") return { outcome };
  if (outcome === "reused" || outcome === "over") return { outcome, pairs: readPairs(rest) };
  if (outcome !== "rotated" && outcome !== "repeated") throw unreadable();
  const [text, ...surplus] = rest;
  return {
    outcome,
    record: readRecord(readText(text)),
    surplus: readPairs(surplus).map(([jti, expiresAt]) => ({ jti, expiresAt: readNumber(expiresAt) })),
  };
}

export function readSessions(pairs: readonly Pair[]): StoredSession[] {
  return pairs.map(([id, text]) => ({ id, record: readRecord(text) }));
}

const times = ["createdAt", "seenAt", "endsAt", "idleEndsAt", "issuedAt", "generation"] as const;
/** Members that a record may lack. */
const optional = { accessIssuedAt: "number", idleMs: "number", persistent: "boolean" } as const;
const texts = ["previous", "org", "orgTokens", "ip", "userAgent", "label"] as const;

/** Reads the record of a session. Throws a {@link StoreFault} for any other text: such a session would never end. */
function readRecord(text: string): SessionRecord {
  const value = parse(text);
  const { access } = value;
  const isRecord =
    times.every((name) => Number.isFinite(value[name]) && Number(value[name]) >= 0) &&
    [value.current, value.grant].every((one) => typeof one === "string") &&
    texts.every((name) => value[name] === undefined || typeof value[name] === "string") &&
    Object.entries(optional).every(([name, type]) => value[name] === undefined || typeof value[name] === type) &&
    (Array.isArray(access) ? access.every(isLiveToken) : isEmpty(access));
  if (!isRecord) throw new StoreFault("unreadable", "WRONGTYPE");
  return { ...(value as unknown as SessionRecord), access: Array.isArray(access) ? (access as LiveToken[]) : [] };
}

function parse(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The text of the error may name a user.
  }
  if (typeof value !== "object" || value === null) throw new StoreFault("unreadable", "WRONGTYPE");
  return value as Readonly<Record<string, unknown>>;
}

function isLiveToken(value: unknown): value is LiveToken {
  if (typeof value !== "object" || value === null) return false;
  const { jti, expiresAt } = value as Partial<LiveToken>;
  return typeof jti === "string" && Number.isFinite(expiresAt);
}

/** Is this an empty object? Lua writes an empty list as an empty object. */
function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
