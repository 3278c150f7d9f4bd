import type { BreakerControl } from "../../resilience/breaker.js";
import { Breaker } from "../../resilience/breaker.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import type {
  AttemptAnswer,
  AttemptLimit,
  AttemptOutcome,
  AttemptQuestion,
  LoginStore,
  PairLimit,
  Pardon,
} from "../login-port.js";
import { StoreFault } from "../ports.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./deadline.js";
import { faultOfError, faultOfPart } from "./faults.js";
import type { GiveBacks } from "./give-backs.js";
import { withoutNumber } from "./give-backs.js";
import { readFlag, readInteger, readListOf, readText, textIn, unreadable } from "./replies.js";
import { loginChargeScript } from "./scripts/login-charge.js";
import { loginSettleScript } from "./scripts/login-settle.js";
import type { Script } from "./scripts/script.js";
import { runScript } from "./scripts/script.js";

export interface RedisLoginStoreOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
  /** Repeats settlements that failed. @default they are lost */
  readonly giveBacks?: GiveBacks | undefined;
}

/** One operation of the script that settles: the key, what to do, and up to four arguments. */
type Operation = readonly [key: string, name: string, ...rest: (string | number)[]];

type Arguments = readonly [keys: readonly string[], args: readonly (string | number)[]];

/** Attempts to sign in, in Redis: one script call to count one and one to settle it (one for each slot in a Cluster). */
export class RedisLoginStore implements LoginStore {
  readonly #connection: Connection;
  readonly #deadlineMs: number;
  readonly #breaker: Breaker;
  readonly #giveBacks: GiveBacks | undefined;

  constructor({ connection, deadlineMs, telemetry = new Telemetry(), giveBacks }: RedisLoginStoreOptions) {
    this.#giveBacks = giveBacks;
    this.#connection = connection;
    this.#deadlineMs = deadlineMs;
    this.#breaker = new Breaker({ name: "redis.logins", telemetry });
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  async charge(question: AttemptQuestion): Promise<AttemptAnswer | StoreFault> {
    const { address, pair, account, pardonKey } = question;
    const accountPart = encodeAccount(pair, pardonKey, account);
    const addressPart = encodeAddress(address);
    if (!this.#connection.isCluster) return this.#charge(join(addressPart, accountPart));
    const answers = await Promise.all([this.#charge(addressPart), this.#charge(accountPart)]);
    const [ofAddress, ofAccount] = answers;
    const refused = answers.find((answer) => answer instanceof StoreFault || answer.refusedBy !== undefined);
    if (refused === undefined) return ofAccount;
    // All or nothing: what the other slot has counted is taken back.
    if (isAdmitted(ofAddress)) void this.#settle([[address.key, "refund", address.windowMs]], address.windowMs);
    if (isAdmitted(ofAccount)) void this.#settle(refundOf(question, ofAccount.counted), lifeOf(question));
    return ofAddress instanceof StoreFault || ofAddress.refusedBy !== undefined ? ofAddress : ofAccount;
  }

  async settle(outcome: AttemptOutcome): Promise<StoreFault | undefined> {
    return this.#settle(operationsOf(outcome), lifeOf(outcome.question));
  }

  async pardon({ addressKey, account }: Pardon): Promise<void> {
    const operations: Operation[] = [];
    if (addressKey !== undefined) operations.push([addressKey, "clear"]);
    if (account !== undefined) {
      const { counters, paceKey, pardonKey, memoryMs } = account;
      operations.push(...[...counters, paceKey].map((key): Operation => [key, "clear"]));
      operations.push([pardonKey, "note", memoryMs]);
    }
    const fault = await this.#settle(operations);
    if (fault !== undefined) throw fault;
  }

  async #charge([keys, args]: Arguments): Promise<AttemptAnswer | StoreFault> {
    return this.#call(loginChargeScript, keys, args, readAttempt);
  }

  /** The first fault, if there is one. With a life, what failed is repeated for so long; the caller need not know. */
  async #settle(operations: readonly Operation[], lifeMs?: number): Promise<StoreFault | undefined> {
    const { isCluster } = this.#connection;
    const call = async (keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> =>
      this.#call(loginSettleScript, keys, args, readSettled);
    const replies = await Promise.all(
      (isCluster ? bySlot(operations) : [operations]).map(async (together) => {
        const lines = together.map(([key, name, a = "", b = "", c = "", d = ""]) => ({
          ...{ key, args: [name, a, b, c, d], lifeMs: lifeMs ?? 0 },
        }));
        // In a Cluster the failures that other services read are in a slot of their own, where we remember nothing.
        const isKept = lifeMs !== undefined && (!isCluster || isOurs(together));
        if (this.#giveBacks === undefined || !isKept) return call(...withoutNumber(lines));
        return this.#giveBacks.attempt(loginSettleScript, lines, call);
      }),
    );
    return replies.find((reply) => reply instanceof StoreFault);
  }

  /** The script's reply; its error text, and whatever else goes wrong, as a fault. */
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
    if (answer instanceof StoreFault && answer.outage) this.#breaker.fail();
    else this.#breaker.succeed();
    return answer;
  }
}

/** Throws the fault that the script's error text tells of. */
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

function readRefuser(text: string): AttemptAnswer["refusedBy"] {
  if (text === "") return undefined;
  if (text === "address" || text === "pair" || text === "account") return text;
  throw unreadable();
}

function readSettled(reply: unknown): void {
  if (textIn(reply) !== "OK") throw faultOfPart(reply);
}

function encodeAddress({ key, limit, windowMs }: AttemptLimit): Arguments {
  return [[key], [limit, windowMs, "", "", "", "", "", "", ""]];
}

function encodeAccount(pair: PairLimit, pardonKey: string, account: AttemptQuestion["account"]): Arguments {
  const pairArgs = [pair.limit, pair.windowMs, pair.spelling];
  if (account === undefined)
    return [
      [pair.key, pardonKey],
      ["", "", ...pairArgs, "", "", "", ""],
    ];
  const { keys, knownKey, paceKey, limit, windowMs, paceMs = "" } = account;
  return [
    [pair.key, pardonKey, ...keys, knownKey, paceKey],
    ["", "", ...pairArgs, limit, windowMs, paceMs, keys.length],
  ];
}

function join([addressKeys, addressArgs]: Arguments, [accountKeys, accountArgs]: Arguments): Arguments {
  return [
    [...addressKeys, ...accountKeys],
    [...addressArgs.slice(0, 2), ...accountArgs.slice(2)],
  ];
}

function isAdmitted(answer: AttemptAnswer | StoreFault): answer is AttemptAnswer {
  return !(answer instanceof StoreFault) && answer.refusedBy === undefined;
}

/** What an outcome changes, in order. */
function operationsOf({
  question,
  counted,
  result,
  signedIn,
  block,
  knownMs,
  failures,
}: AttemptOutcome): readonly Operation[] {
  const { address, pair, account } = question;
  if (result === "failed") {
    const blocking: Operation = [pair.key, "block", pair.limit, pair.windowMs, block.longestMs, block.memoryMs];
    return [blocking, [failures.key, "fail", failures.ttlMs]];
  }
  const knownKey = signedIn?.knownKey ?? account?.knownKey;
  const noted: Operation[] = knownKey === undefined ? [] : [[knownKey, "note", knownMs]];
  if (result === "uncounted") return [forgive(signedIn?.pair ?? pair), ...noted];
  const operations = refundOf(question, counted);
  if (result !== "interrupted") operations.push([address.key, "refund", address.windowMs]);
  if (result !== "succeeded") return operations;
  if (signedIn === undefined) operations[0] = forgive(pair);
  else operations.push(forgive(signedIn.pair));
  return [...operations, ...noted];
}

function forgive({ key, spelling }: Pick<PairLimit, "key" | "spelling">): Operation {
  return [key, "forgive", spelling];
}

/** Takes back what an account's slot has counted; first the pair. */
function refundOf({ pair, account }: AttemptQuestion, counted: boolean): Operation[] {
  const operations: Operation[] = [[pair.key, "refund-pair", pair.spelling]];
  if (account !== undefined && counted)
    operations.push(...account.keys.map((key): Operation => [key, "refund", account.windowMs]));
  return operations;
}

/** How long a settlement is worth repeating. */
function lifeOf({ address, pair, account }: AttemptQuestion): number {
  return Math.max(pair.windowMs, address.windowMs, account?.windowMs ?? 0);
}

/** Does one of our hash tags, rather than a name, decide about the slot? */
function isOurs(operations: readonly Operation[]): boolean {
  return operations.every(([key]) => /^[^{}]*\{\d+\}:/.test(key));
}

function bySlot(operations: readonly Operation[]): Operation[][] {
  const slots = new Map<string, Operation[]>();
  for (const operation of operations) {
    const tag = /\{([^}]*)\}/.exec(operation[0])?.[1] ?? operation[0];
    const known = slots.get(tag);
    if (known === undefined) slots.set(tag, [operation]);
    else known.push(operation);
  }
  return [...slots.values()];
}
