import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { faultOfError } from "./faults.js";
import { unreadReply } from "./replies.js";

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
