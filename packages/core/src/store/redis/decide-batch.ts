import type { Algorithm, Answer, Consumption, CountingMode, Question, CounterState } from "../ports/decisions.js";
import type { StoreFault } from "../ports/fault.js";
import { blockedState, isRefusedToken, someRefuses } from "../ports/decisions.js";
import type { RedisLike } from "./client.js";
import { faultOfPart, integerIn, readInteger, readList, unreadable } from "./replies.js";
import { decideScript } from "./scripts/decide.js";
import type { Script } from "./scripts/lua.js";
import { runScript } from "./connect.js";

/** The answer of one script call to a batch. */
export interface BatchDecision {
  readonly answers: readonly Answer[];
  /** The time by Redis' clock, in unix milliseconds. */
  readonly serverTimeMs: number;
}

/** Asks all questions in one script call. In a Cluster their keys must share a hash slot. */
export async function decideBatch(
  client: RedisLike,
  questions: readonly Question[],
  script: Script = decideScript,
): Promise<BatchDecision> {
  const keys: string[] = [];
  for (const { token } of questions) if (token !== undefined) keys.push(token.revokedKey, ...token.cutoffKeys);
  const args: (string | number)[] = [keys.length];
  for (const question of questions) encode(question, keys, args);
  return decode(questions, await runScript(client, script, keys, args));
}

function encode(
  { beforeToken, token, replayCheck, afterToken, refusesUnknown }: Question,
  keys: string[],
  args: (string | number)[],
): void {
  args.push(
    beforeToken.length,
    token === undefined ? 0 : 1 + token.cutoffKeys.length,
    token?.issuedAt ?? "",
    replayCheck?.ttlMs ?? "",
    afterToken.length,
    refusalsOf(beforeToken, afterToken, refusesUnknown === true ? 1 : ""),
  );
  for (const consumption of beforeToken) encodeConsumption(consumption, keys, args);
  if (replayCheck !== undefined) keys.push(replayCheck.key);
  for (const consumption of afterToken) encodeConsumption(consumption, keys, args);
}

/** Tells the script what refuses a request besides its limits: an unknown revocation, and some unreadable values. */
function refusalsOf(
  before: readonly Consumption[],
  after: readonly Consumption[],
  unknown: number | string,
): number | string {
  if (!before.some(refusesUnreadable) && !after.some(refusesUnreadable)) return unknown;
  const digits = [...before, ...after].map((consumption) => (refusesUnreadable(consumption) ? 1 : 0));
  return `${unknown === 1 ? 1 : 0}:${digits.join("")}`;
}

function refusesUnreadable(consumption: Consumption): boolean {
  return consumption.refusesUnreadable === true;
}

/** The names of the algorithms in scripts. */
export const kinds: Readonly<Record<Algorithm, string>> = {
  "fixed-window": "window",
  "sliding-window": "sliding",
  "token-bucket": "bucket",
  concurrency: "slots",
};

function encodeConsumption(consumption: Consumption, keys: string[], args: (string | number)[]): void {
  keys.push(consumption.key);
  if (consumption.mode !== undefined) return encodeMode(consumption, consumption.mode, keys, args);
  args.push(consumption.limit, consumption.windowSeconds * 1000, consumption.cost);
}

function encodeMode(
  { limit, windowSeconds, cost, burst, slot, blockKey }: Consumption,
  { algorithm, shadow, block }: CountingMode,
  keys: string[],
  args: (string | number)[],
): void {
  args.push(kinds[algorithm], limit, windowSeconds * 1000, cost, slot ?? burst ?? limit, shadow ? 1 : "");
  if (block === undefined || blockKey === undefined) {
    args.push("", "", "");
  } else {
    keys.push(blockKey);
    args.push(block.after, block.extends === true ? -block.firstMs : block.firstMs, block.maxMs);
  }
}

/**
 * Reads the flat list of the script. A part that cannot be read is a fault of that part. A list of another length, or
 * without the time, answers another question: then this function throws.
 */
function decode(questions: readonly Question[], reply: unknown): BatchDecision {
  const list = readList(reply);
  let at = 0;

  function decodeState(consumption: Consumption): CounterState | StoreFault | undefined {
    const [said, reset] = [list[at], list[at + 1]];
    const receipt = consumption.mode === undefined ? -1 : integerIn(list[at + 2], -1);
    at += consumption.mode === undefined ? 2 : 3;
    const consumed = integerIn(said, -2);
    if (consumed === undefined) return faultOfPart(said);
    if (consumed === -1) return undefined;
    const resetMs = integerIn(reset, 0);
    if (resetMs === undefined || receipt === undefined) return unreadable();
    if (consumed === -2) return consumption.blockKey === undefined ? unreadable() : blockedState(consumption, resetMs);
    return receipt === -1 ? { consumed, resetMs } : { consumed, resetMs, receipt };
  }

  function decodeReplayed(): boolean | StoreFault | undefined {
    const said = list[at++];
    const finding = integerIn(said, -1);
    if (finding === undefined) return faultOfPart(said);
    return finding > 1 ? unreadable() : finding === -1 ? undefined : finding === 1;
  }

  const serverTimeMs = readInteger(list[at++]);
  const answers: Answer[] = [];
  for (const question of questions) {
    const { beforeToken, token, replayCheck, afterToken } = question;
    const said = list[at++];
    const finding = integerIn(said, -1);
    let revoked: Answer["revoked"] =
      token === undefined || finding === -1 ? undefined : finding === undefined ? faultOfPart(said) : finding > 0;
    let replayed = replayCheck === undefined ? undefined : decodeReplayed();
    const before = beforeToken.map((consumption) => decodeState(consumption) ?? unreadable());
    let after = afterToken.map(decodeState);
    // "Not reached" is an answer only after a refusal. Anywhere else it would allow what no store has decided.
    if (!someRefuses(beforeToken, before)) {
      if (token !== undefined) revoked ??= unreadable();
      if (replayCheck !== undefined && revoked !== true) replayed ??= unreadable();
      if (!isRefusedToken(question, revoked, replayed) && after.includes(undefined))
        after = after.map((state) => state ?? unreadable());
    }
    answers.push({
      revoked,
      ...(revoked === true && finding !== undefined && finding > 1 ? { cutoff: finding - 2 } : undefined),
      ...(replayCheck === undefined ? undefined : { replayed }),
      beforeToken: before,
      afterToken: after,
    });
  }
  if (at !== list.length) throw unreadable();
  return { answers, serverTimeMs };
}
