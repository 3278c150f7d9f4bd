import type { BreakerControl } from "../../lib/breaker.js";
import { Breaker } from "../../lib/breaker.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import type {
  AttemptAnswer,
  AttemptLimit,
  AttemptOutcome,
  AttemptQuestion,
  AttemptResult,
  LoginStore,
  AccountAndIpLimit,
  LoginCounts,
  LoginReading,
  LoginReset,
} from "../ports/logins.js";
import { StoreFault } from "../ports/fault.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import {
  faultOfError,
  faultOfPart,
  readFlag,
  readInteger,
  readListOf,
  readText,
  tellBreaker,
  textIn,
  unreadable,
} from "./replies.js";
import type { CallArguments, GiveBackLine } from "./give-back-lane.js";
import type { GiveBacks, Tentative } from "./give-backs.js";
import { withoutNumber, wordsOf } from "./give-backs.js";
import { groupBySlot } from "./hash-slot.js";
import { loginChargeScript, loginSettleScript, readAccountScript, readAddressScript } from "./scripts/logins.js";
import type { Script } from "./scripts/lua.js";

export interface RedisLoginStoreOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
  /** Repeats failed outcomes, and undoes counts whose reply was lost. @default neither is done */
  readonly giveBacks?: GiveBacks | undefined;
}

/** One operation of `loginSettleScript`: the key, the name, and up to four arguments. */
type Operation = readonly [key: string, name: string, ...rest: (string | number)[]];

type Counted = Tentative<AttemptAnswer>;

/**
 * Login attempts in Redis: one script call counts an attempt, and one records its outcome. In a Cluster, one for each
 * hash slot.
 */
export class RedisLoginStore implements LoginStore {
  readonly #connection: Connection;
  readonly #deadlineMs: number;
  readonly #breaker: Breaker;
  readonly #giveBacks: GiveBacks | undefined;
  /** Functions that undo the counts of attempts whose reply was a fault: they may have been counted. */
  readonly #unanswered = new WeakMap<AttemptQuestion, (result: AttemptResult) => void>();

  constructor({ connection, deadlineMs, telemetry = new Telemetry(), giveBacks }: RedisLoginStoreOptions) {
    this.#giveBacks = giveBacks;
    this.#connection = connection;
    this.#deadlineMs = deadlineMs;
    this.#breaker = new Breaker({ name: "redis.logins", telemetry });
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  async count(question: AttemptQuestion): Promise<AttemptAnswer | StoreFault> {
    const { address, accountAndIp, account, resetKey } = question;
    const addressPart = encodeAddress(address);
    const accountPart = encodeAccount(accountAndIp, resetKey, account);
    const lifeMs = lifeOf(question);
    const addressUndo = linesOf([refundAddress(address)], lifeMs);
    const accountUndo = linesOf(undoAccount(question), lifeMs);
    if (this.#connection.isCluster)
      return this.#countInBoth(
        question,
        await Promise.all([this.#count(addressPart, addressUndo), this.#count(accountPart, accountUndo)]),
      );
    const { reply, lost } = await this.#count(join(addressPart, accountPart), [...addressUndo, ...accountUndo]);
    if (lost !== undefined) this.#unanswered.set(question, (result) => lost.undo(choose(question, result)));
    return reply;
  }

  /** Counts in both hash slots or in none: takes a count back if the other slot refuses or fails. */
  #countInBoth(
    question: AttemptQuestion,
    ofBoth: readonly [ofAddress: Counted, ofAccount: Counted],
  ): AttemptAnswer | StoreFault {
    const [ofAddress, ofAccount] = ofBoth;
    const refused = ofBoth.find(({ reply }) => !(reply instanceof StoreFault) && reply.refusedBy !== undefined);
    const failed = ofBoth.find(({ reply }) => reply instanceof StoreFault);
    const settle = (result: AttemptResult): void => {
      const isTakenBack = choose(question, result);
      for (const { lost } of ofBoth) lost?.undo(isTakenBack);
      const counted: Operation[] = isAdmitted(ofAddress) ? [refundAddress(question.address)] : [];
      if (isAdmitted(ofAccount)) counted.push(...refundOf(question, ofAccount.reply.counted));
      const takenBack = counted.filter(([key]) => isTakenBack({ key }));
      void this.#apply(takenBack, lifeOf(question));
    };
    if (refused !== undefined) settle("unchecked");
    else if (failed !== undefined && ofBoth.some((one) => one.lost !== undefined || isAdmitted(one)))
      this.#unanswered.set(question, settle);
    return (refused ?? failed ?? ofAccount).reply;
  }

  async record(outcome: AttemptOutcome): Promise<StoreFault | undefined> {
    const { question, counted, result } = outcome;
    if (counted !== undefined) return this.#apply(operationsOf(outcome), lifeOf(question));
    const undoCounted = this.#unanswered.get(question);
    this.#unanswered.delete(question);
    undoCounted?.(result);
    // If nothing was sent, a failure blocks nothing; but a success must delete earlier failures.
    if (result !== "succeeded" && (result !== "failed" || undoCounted === undefined)) return undefined;
    return this.#apply(operationsOf(outcome), lifeOf(question));
  }

  async reset({ addressKey, account }: LoginReset): Promise<void> {
    const operations: Operation[] = [];
    if (addressKey !== undefined) operations.push([addressKey, "clear"]);
    if (account !== undefined) {
      const { counters, intervalKey, resetKey, memoryMs } = account;
      operations.push(...[...counters, intervalKey].map((key): Operation => [key, "clear"]));
      operations.push([resetKey, "note", memoryMs]);
    }
    const fault = await this.#apply(operations);
    if (fault !== undefined) throw fault;
  }

  async read({ addressKey, account }: LoginReading): Promise<LoginCounts> {
    const [ofAddress, ofAccount] = await Promise.all([
      addressKey === undefined ? undefined : this.#call(readAddressScript, [addressKey], [], readAddress),
      account === undefined ? undefined : this.#readAccount(account),
    ]);
    if (ofAddress instanceof StoreFault) throw ofAddress;
    if (ofAccount instanceof StoreFault) throw ofAccount;
    return { address: ofAddress, account: ofAccount?.account, pair: ofAccount?.pair };
  }

  async #readAccount({
    counters,
    windowMs,
    intervalKey,
    resetKey,
    pair,
  }: NonNullable<LoginReading["account"]>): Promise<Pick<LoginCounts, "account" | "pair"> | StoreFault> {
    const keys = [resetKey, intervalKey, ...counters, ...(pair === undefined ? [] : [pair.pairKey, pair.knownKey])];
    return this.#call(readAccountScript, keys, [counters.length, windowMs], (reply) =>
      readAccount(reply, pair !== undefined),
    );
  }

  /** Counts an attempt. The lines undo the count. */
  async #count(words: CallArguments, undo: readonly GiveBackLine[]): Promise<Counted> {
    const call = async (keys: readonly string[], args: readonly (string | number)[]) =>
      this.#call(loginChargeScript, keys, args, readAttempt);
    if (this.#giveBacks === undefined) return { reply: await call(...withoutNumber(words)) };
    return this.#giveBacks.tentatively(loginSettleScript, undo, words, call);
  }

  /** Runs operations. Resolves to the first fault. With `lifeMs`, failed operations are repeated for that time. */
  async #apply(operations: readonly Operation[], lifeMs?: number): Promise<StoreFault | undefined> {
    const { isCluster } = this.#connection;
    const call = async (keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> =>
      this.#call(loginSettleScript, keys, args, readSettled);
    const replies = await Promise.all(
      (isCluster ? groupBySlot(operations, ([key]) => key) : [operations]).map(async (together) => {
        const lines = linesOf(together, lifeMs ?? 0);
        // In a Cluster, the failures that other services read are in a hash slot without memory of numbers.
        const isKept = lifeMs !== undefined && (!isCluster || isOurs(together));
        if (this.#giveBacks === undefined || !isKept) return call(...withoutNumber(wordsOf(lines)));
        return this.#giveBacks.attempt(loginSettleScript, lines, call);
      }),
    );
    return replies.find((reply) => reply instanceof StoreFault);
  }

  /** Runs a script. Resolves to its reply, or to a fault. */
  async #call<T>(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    read: (reply: unknown) => T,
  ): Promise<T | StoreFault> {
    if (!this.#breaker.enter()) return new StoreFault("open");
    const { client } = this.#connection;
    const answer = await callWithin(
      this.#deadlineMs,
      this.#connection,
      async () => read(await runScript(client, script, keys, args)),
      "login",
    ).catch(faultOfError);
    tellBreaker(this.#breaker, answer instanceof StoreFault ? answer : undefined);
    return answer;
  }
}

/** Reads the reply to an attempt. Throws the fault of an error text. */
function readAttempt(reply: unknown): AttemptAnswer {
  if (textIn(reply) !== undefined) throw faultOfPart(reply);
  const [refusedBy, retryMs, exhausted, counted] = readListOf(reply, 4);
  return {
    refusedBy: readRefuser(readText(refusedBy)),
    retryMs: readInteger(retryMs),
    exhausted: readFlag(exhausted),
    counted: readFlag(counted),
  };
}

function readAddress(reply: unknown): LoginCounts["address"] {
  const [attempts, leftMs] = readListOf(reply, 2);
  return { attempts: readInteger(attempts), leftMs: readInteger(leftMs) };
}

function readAccount(reply: unknown, hasPair: boolean): Pick<LoginCounts, "account" | "pair"> {
  const [attempts, leftMs, pacedMs, ofPair, pairLeftMs, known] = readListOf(reply, hasPair ? 6 : 3);
  return {
    account: { attempts: readInteger(attempts), leftMs: readInteger(leftMs), pacedMs: readInteger(pacedMs) },
    pair: hasPair
      ? { attempts: readInteger(ofPair), leftMs: readInteger(pairLeftMs), known: readFlag(known) }
      : undefined,
  };
}

function readRefuser(text: string): AttemptAnswer["refusedBy"] {
  if (text === "") return undefined;
  if (text === "address" || text === "pair" || text === "account") return text;
  throw unreadable();
}

function readSettled(reply: unknown): void {
  if (textIn(reply) !== "OK") throw faultOfPart(reply);
}

function encodeAddress({ key, limit, windowMs }: AttemptLimit): CallArguments {
  return [[key], [limit, windowMs, "", "", "", "", "", "", ""]];
}

function encodeAccount(
  accountAndIp: AccountAndIpLimit,
  resetKey: string,
  account: AttemptQuestion["account"],
): CallArguments {
  const pairArgs = [accountAndIp.limit, accountAndIp.windowMs, accountAndIp.spelling];
  if (account === undefined)
    return [
      [accountAndIp.key, resetKey],
      ["", "", ...pairArgs, "", "", "", ""],
    ];
  const { keys, knownKey, intervalKey, limit, windowMs, minIntervalMs = "" } = account;
  return [
    [accountAndIp.key, resetKey, ...keys, knownKey, intervalKey],
    ["", "", ...pairArgs, limit, windowMs, minIntervalMs, keys.length],
  ];
}

function join([addressKeys, addressArgs]: CallArguments, [accountKeys, accountArgs]: CallArguments): CallArguments {
  return [
    [...addressKeys, ...accountKeys],
    [...addressArgs.slice(0, 2), ...accountArgs.slice(2)],
  ];
}

function isAdmitted(counted: Counted): counted is { reply: AttemptAnswer } {
  return !(counted.reply instanceof StoreFault) && counted.reply.refusedBy === undefined;
}

function linesOf(operations: readonly Operation[], lifeMs: number): GiveBackLine[] {
  return operations.map(([key, name, a = "", b = "", c = "", d = ""]) => ({ key, args: [name, a, b, c, d], lifeMs }));
}

/** The operations of an outcome, in order. */
function operationsOf({
  question,
  counted,
  result,
  signedIn,
  block,
  knownMs,
  failures,
}: AttemptOutcome): readonly Operation[] {
  const { address, accountAndIp, account } = question;
  if (result === "failed") {
    const blocking: Operation = [
      accountAndIp.key,
      "block",
      accountAndIp.limit,
      accountAndIp.windowMs,
      block.longestMs,
      block.memoryMs,
    ];
    return [blocking, [failures.key, "fail", failures.ttlMs]];
  }
  const knownKey = signedIn?.knownKey ?? account?.knownKey;
  const noted: Operation[] = knownKey === undefined ? [] : [[knownKey, "note", knownMs]];
  if (counted === undefined) return [forgive(signedIn?.accountAndIp ?? accountAndIp), ...noted];
  const operations = refundOf(question, counted);
  if (result !== "interrupted") operations.push(refundAddress(address));
  if (result !== "succeeded") return operations;
  if (signedIn === undefined) operations[0] = forgive(accountAndIp);
  else operations.push(forgive(signedIn.accountAndIp));
  return [...operations, ...noted];
}

function forgive({ key, spelling }: Pick<AccountAndIpLimit, "key" | "spelling">): Operation {
  return [key, "forgive", spelling];
}

function refundAddress({ key, windowMs }: AttemptLimit): Operation {
  return [key, "refund", windowMs];
}

/** Selects the counts that this result takes back. */
function choose({ address, account }: AttemptQuestion, result: AttemptResult): (line: { key: string }) => boolean {
  if (result === "failed") return () => false;
  if (result === "unchecked") return () => true;
  // Every tested password counts for the minimum interval.
  return ({ key }) => key !== account?.intervalKey && (result === "succeeded" || key !== address.key);
}

/** Operations that undo the counts in the hash slot of the account, by the note of the script. */
function undoAccount({ accountAndIp, account }: AttemptQuestion): Operation[] {
  const operations: Operation[] = [[accountAndIp.key, "refund-pair", accountAndIp.spelling]];
  if (account === undefined) return operations;
  const { keys, windowMs, intervalKey, minIntervalMs } = account;
  operations.push(...keys.map((key): Operation => [key, "refund-account", windowMs]));
  return minIntervalMs === undefined ? operations : [...operations, [intervalKey, "release-pace"]];
}

/** Operations that refund an attempt in the hash slot of the account; the first is about account and IP address. */
function refundOf({ accountAndIp, account }: AttemptQuestion, counted: boolean): Operation[] {
  const operations: Operation[] = [[accountAndIp.key, "refund-pair", accountAndIp.spelling]];
  if (account !== undefined && counted)
    operations.push(...account.keys.map((key): Operation => [key, "refund", account.windowMs]));
  return operations;
}

/** How long an outcome is repeated. */
function lifeOf({ address, accountAndIp, account }: AttemptQuestion): number {
  return Math.max(accountAndIp.windowMs, address.windowMs, account?.windowMs ?? 0);
}

/** Have all keys a hash tag of Portcullis? */
function isOurs(operations: readonly Operation[]): boolean {
  return operations.every(([key]) => /^[^{}]*\{\d+\}:/.test(key));
}
