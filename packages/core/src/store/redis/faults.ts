import { StoreFault } from "../ports/decisions.js";
import { textIn, unreadable } from "./replies.js";

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
