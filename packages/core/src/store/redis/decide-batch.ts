import type {
  Algorithm,
  Answer,
  Consumption,
  CounterState,
  CountingMode,
  Question,
  TokenQuestion,
} from "../ports/decisions.js";
import type { StoreFault } from "../ports/fault.js";
import { blockedState, exceeds, isRefusedToken, someRefuses } from "../ports/decisions.js";
import type { RedisLike } from "./client.js";
import { faultOfPart, integerIn, readInteger, readNumbers, unreadable } from "./replies.js";
import { decideScript } from "./scripts/decide.js";
import type { Script } from "./scripts/lua.js";
import { readsBytes } from "./client.js";
import { callLongScript } from "./run-script.js";

/** The answer of one script call to a batch. */
export interface BatchDecision {
  readonly answers: readonly Answer[];
  /** The time by Redis' clock, in unix milliseconds. */
  readonly serverTimeMs: number;
}

/** Maximum number of counters that are remembered for their last refusal. */
const maxRefused = 4096;

/**
 * Counters whose last answer was a refusal. The script then reads before it counts, so that a client that goes on after
 * refusals causes no writes.
 */
export class RefusedCounters {
  readonly #keys = new Set<string>();

  /** Does the question have such a counter? */
  concern({ beforeToken, afterToken }: Question): boolean {
    if (this.#keys.size === 0) return false;
    return beforeToken.some(({ key }) => this.#keys.has(key)) || afterToken.some(({ key }) => this.#keys.has(key));
  }

  note(consumption: Consumption, state: CounterState): void {
    if (exceeds(consumption, state)) {
      if (this.#keys.size >= maxRefused) this.#keys.clear();
      this.#keys.add(consumption.key);
    } else if (this.#keys.size > 0) {
      this.#keys.delete(consumption.key);
    }
  }
}

export interface DecideBatchOptions {
  /** @default none are remembered */
  readonly refused?: RefusedCounters | undefined;
  readonly script?: Script | undefined;
}

/** Asks all questions in one script call. In a Cluster their keys must share a hash slot. */
export async function decideBatch(
  client: RedisLike,
  questions: readonly Question[],
  { refused = new RefusedCounters(), script = decideScript }: DecideBatchOptions = {},
): Promise<BatchDecision> {
  const reads = readsBytes(client) ? "bytes" : "text";
  const words = encode(script.sha1, questions, refused, reads === "bytes");
  return decode(questions, await callLongScript(client, script, words, reads), refused);
}

/** The digest of the script, the number of keys, the keys and the arguments. */
function encode(sha1: string, questions: readonly Question[], refused: RefusedCounters, packs: boolean): string[] {
  const words = [sha1, ""];
  for (const { token } of questions) {
    if (token === undefined) continue;
    words.push(token.revokedKey);
    for (const key of token.cutoffKeys) words.push(key);
  }
  const args: (string | number)[] = [words.length - 2, packs ? 1 : ""];
  let run: Question | undefined;
  let reads = false;
  let start = 0;
  let length = 0;
  let issued = "";
  for (const question of questions) {
    const { token, beforeToken, afterToken, replayCheck } = question;
    const readsFirst = refused.concern(question);
    if (run === undefined || reads !== readsFirst || !hasSameTerms(run, question)) {
      if (length > 0) endRun(args, start, reads ? -length : length, issued);
      issued = "";
      run = question;
      reads = readsFirst;
      start = args.length;
      length = 0;
      encodeTerms(question, args);
    }
    length += 1;
    for (const consumption of beforeToken) pushKeys(consumption, words);
    if (replayCheck !== undefined) words.push(replayCheck.key);
    for (const consumption of afterToken) pushKeys(consumption, words);
    issued += token === undefined ? "," : issuedText(token);
  }
  if (length > 0) endRun(args, start, reads ? -length : length, issued);
  words[1] = String(words.length - 2);
  for (const arg of args) words.push(String(arg));
  return words;
}

/** Writes the number of requests of a run at its start, and the times of their tokens at its end. */
function endRun(args: (string | number)[], start: number, length: number, issued: string): void {
  args[start] = length;
  args.push(issued);
}

function issuedText({ issuedAt }: TokenQuestion): string {
  return issuedAt === undefined ? "," : `${issuedAt},`;
}

/** May both questions be in one run? Only plain fixed windows have the same terms for many requests. */
function hasSameTerms(one: Question, other: Question): boolean {
  if (one.replayCheck !== undefined || other.replayCheck !== undefined) return false;
  return (
    one.refusesUnknown === other.refusesUnknown &&
    one.token?.cutoffKeys.length === other.token?.cutoffKeys.length &&
    haveSameTerms(one.beforeToken, other.beforeToken) &&
    haveSameTerms(one.afterToken, other.afterToken)
  );
}

function haveSameTerms(some: readonly Consumption[], others: readonly Consumption[]): boolean {
  if (some.length !== others.length) return false;
  for (let index = 0; index < some.length; index += 1) {
    const one = some[index];
    const other = others[index];
    if (
      one?.mode !== undefined ||
      other?.mode !== undefined ||
      one?.limit !== other?.limit ||
      one?.windowSeconds !== other?.windowSeconds ||
      one?.cost !== other?.cost ||
      one?.refusesUnreadable !== other?.refusesUnreadable
    )
      return false;
  }
  return true;
}

function encodeTerms(
  { beforeToken, token, replayCheck, afterToken, refusesUnknown }: Question,
  args: (string | number)[],
): void {
  args.push(
    0,
    beforeToken.length,
    token === undefined ? 0 : 1 + token.cutoffKeys.length,
    replayCheck?.ttlMs ?? "",
    afterToken.length,
    refusalsOf(beforeToken, afterToken, refusesUnknown === true ? 1 : ""),
  );
  for (const consumption of beforeToken) encodeConsumption(consumption, args);
  for (const consumption of afterToken) encodeConsumption(consumption, args);
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

function pushKeys({ key, mode, blockKey }: Consumption, words: string[]): void {
  words.push(key);
  if (mode?.block !== undefined && blockKey !== undefined) words.push(blockKey);
}

function encodeConsumption(consumption: Consumption, args: (string | number)[]): void {
  if (consumption.mode !== undefined) return encodeMode(consumption, consumption.mode, args);
  args.push(consumption.limit, consumption.windowSeconds * 1000, consumption.cost);
}

function encodeMode(
  { limit, windowSeconds, cost, burst, slot, blockKey }: Consumption,
  { algorithm, shadow, block }: CountingMode,
  args: (string | number)[],
): void {
  args.push(kinds[algorithm], limit, windowSeconds * 1000, cost, slot ?? burst ?? limit, shadow ? 1 : "");
  if (block === undefined || blockKey === undefined) args.push("", "", "");
  else args.push(block.after, block.extends === true ? -block.firstMs : block.firstMs, block.maxMs);
}

/**
 * Reads the flat list of the script, as a list or packed. A part that cannot be read is a fault of that part. A list of another
 * length, or without the time, answers another question: then this function throws.
 */
function decode(questions: readonly Question[], reply: unknown, refused: RefusedCounters): BatchDecision {
  const reader = new ReplyReader(readNumbers(reply), refused);
  const serverTimeMs = readInteger(reader.next());
  const answers = questions.map((question) => reader.readAnswer(question));
  reader.end();
  return { answers, serverTimeMs };
}

/** Reads the parts of a reply in their order. */
class ReplyReader {
  readonly #list: readonly unknown[];
  readonly #refused: RefusedCounters;
  #at = 0;

  constructor(list: readonly unknown[], refused: RefusedCounters) {
    this.#list = list;
    this.#refused = refused;
  }

  next(): unknown {
    return this.#list[this.#at++];
  }

  end(): void {
    if (this.#at !== this.#list.length) throw unreadable();
  }

  readAnswer(question: Question): Answer {
    const { beforeToken, token, replayCheck, afterToken } = question;
    const said = this.next();
    const finding = integerIn(said, -1);
    let revoked: Answer["revoked"] =
      token === undefined || finding === -1 ? undefined : finding === undefined ? faultOfPart(said) : finding > 0;
    let replayed = replayCheck === undefined ? undefined : this.#readReplayed();
    const before = this.#readReached(beforeToken);
    const after = this.#readStates(afterToken);
    const isReached = !after.includes(undefined);
    // "Not reached" is an answer only after a refusal. Anywhere else it would allow what no store has decided.
    if (!(isReached && revoked === false && replayCheck === undefined) && !someRefuses(beforeToken, before)) {
      if (token !== undefined) revoked ??= unreadable();
      if (replayCheck !== undefined && revoked !== true) replayed ??= unreadable();
      if (!isReached && !isRefusedToken(question, revoked, replayed))
        for (const [index, state] of after.entries()) after[index] = state ?? unreadable();
    }
    if (replayCheck === undefined && revoked !== true) return { revoked, beforeToken: before, afterToken: after };
    return {
      revoked,
      ...(revoked === true && finding !== undefined && finding > 1 ? { cutoff: finding - 2 } : undefined),
      ...(replayCheck === undefined ? undefined : { replayed }),
      beforeToken: before,
      afterToken: after,
    };
  }

  /** The states of consumptions that are reached always. */
  #readReached(consumptions: readonly Consumption[]): (CounterState | StoreFault)[] {
    const states = this.#readStates(consumptions);
    for (let index = 0; index < states.length; index += 1) states[index] ??= unreadable();
    return states as (CounterState | StoreFault)[];
  }

  #readStates(consumptions: readonly Consumption[]): (CounterState | StoreFault | undefined)[] {
    const [only] = consumptions;
    // A literal takes no more memory than its one element needs.
    if (only !== undefined && consumptions.length === 1) return [this.#readState(only)];
    return consumptions.map((consumption) => this.#readState(consumption));
  }

  #readState(consumption: Consumption): CounterState | StoreFault | undefined {
    const said = this.next();
    const reset = this.next();
    const receipt = consumption.mode === undefined ? -1 : integerIn(this.next(), -1);
    const consumed = integerIn(said, -2);
    if (consumed === undefined) return faultOfPart(said);
    if (consumed === -1) return undefined;
    const resetMs = integerIn(reset, 0);
    if (resetMs === undefined || receipt === undefined) return unreadable();
    if (consumed === -2) return consumption.blockKey === undefined ? unreadable() : blockedState(consumption, resetMs);
    const state = receipt === -1 ? { consumed, resetMs } : { consumed, resetMs, receipt };
    this.#refused.note(consumption, state);
    return state;
  }

  #readReplayed(): boolean | StoreFault | undefined {
    const said = this.next();
    const finding = integerIn(said, -1);
    if (finding === undefined) return faultOfPart(said);
    return finding > 1 ? unreadable() : finding === -1 ? undefined : finding === 1;
  }
}
