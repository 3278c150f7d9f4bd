import type { LiveToken, SessionRecord } from "../ports/sessions.js";
import { StoreFault } from "../ports/decisions.js";

const times = ["createdAt", "seenAt", "endsAt", "idleEndsAt", "issuedAt", "generation"] as const;
const texts = ["previous", "org", "orgTokens", "ip", "userAgent", "label"] as const;

/** A session as its record has it. Throws a {@link StoreFault} for what is none: it would never end. */
export function readRecord(text: string): SessionRecord {
  const value = parse(text);
  const { access } = value;
  const isRecord =
    times.every((name) => Number.isFinite(value[name]) && Number(value[name]) >= 0) &&
    [value.current, value.grant].every((one) => typeof one === "string") &&
    texts.every((name) => value[name] === undefined || typeof value[name] === "string") &&
    (Array.isArray(access) ? access.every(isLiveToken) : isEmpty(access));
  if (!isRecord) throw new StoreFault("unreadable", "WRONGTYPE");
  return { ...(value as unknown as SessionRecord), access: Array.isArray(access) ? (access as LiveToken[]) : [] };
}

function parse(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Its text may name a user.
  }
  if (typeof value !== "object" || value === null) throw new StoreFault("unreadable", "WRONGTYPE");
  return value as Readonly<Record<string, unknown>>;
}

function isLiveToken(value: unknown): value is LiveToken {
  if (typeof value !== "object" || value === null) return false;
  const { jti, expiresAt } = value as Partial<LiveToken>;
  return typeof jti === "string" && Number.isFinite(expiresAt);
}

/** Lua cannot tell an empty list from an empty object, and writes this. */
function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
