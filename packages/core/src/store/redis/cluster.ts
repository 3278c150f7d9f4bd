import type { LRUCache } from "lru-cache";
import type { ConsumptionGroup } from "../ports/decide.js";
import { decide, KnownChecks } from "../ports/decide.js";
import type {
  Adjustment,
  Answer,
  Consumption,
  Question,
  UsageCorrections,
  CounterState,
  TokenQuestion,
  ReplayCheck,
} from "../ports/decisions.js";
import {
  blockedState,
  withChanges,
  exceeds,
  isCutOff,
  isRefusedToken,
  refuses,
  someRefuses,
} from "../ports/decisions.js";
import { StoreFault } from "../ports/fault.js";
import type { BatchDecision, RefusedCounters } from "./decide-batch.js";
import { decideBatch } from "./decide-batch.js";
import type { RedisLike } from "./client.js";
import { cork } from "./client.js";
import { faultOfError, integerIn, readFlag, readOptionalText, readWritten, unreadable } from "./replies.js";
import { groupBySlot } from "./hash-slot.js";
import { clearTimeout, monotonicNow, setImmediate, setTimeout } from "../../lib/real-timers.js";

export interface AcrossSlotsOptions {
  /** Timeout of the answer of one hash slot. */
  readonly partMs: number;
  /** Refunds consumptions of a request that another hash slot refuses. */
  readonly quotas: UsageCorrections;
  /** Records of tokens that were revoked when last asked about. */
  readonly revokedKeys: LRUCache<string, true>;
  /** @default none are remembered */
  readonly refused?: RefusedCounters | undefined;
}

/**
 * Answers the questions of a batch on Redis Cluster, where one script sees one hash slot. The consumptions of each slot
 * are one script call, and revocation records are single-key reads, all at the same time. Inside a slot a decision
 * counts all or nothing. Across slots, `decide` refunds the consumptions that must not count. Two things follow in a
 * second call, if at all: the consumptions after a token that was revoked before, and refusals that may block a client.
 */
export async function decideAcrossSlots(
  client: RedisLike,
  questions: readonly Question[],
  { partMs, quotas, revokedKeys, refused }: AcrossSlotsOptions,
): Promise<BatchDecision> {
  const startedAt = monotonicNow();
  // A count that is refunded at once still refuses the requests of the owner meanwhile.
  const isSuspect = questions.map(({ token }) => token !== undefined && revokedKeys.has(token.revokedKey));
  const groups = questions.map(({ beforeToken, afterToken }) => ({
    before: new ClusterGroup(quotas, beforeToken),
    after: new ClusterGroup(quotas, afterToken, "strikes later"),
  }));
  const parts = groups.flatMap(({ before, after }, index) =>
    isSuspect[index] === true ? before.parts : [...before.parts, ...after.parts],
  );
  let serverTimeMs = Number.NaN;
  const askParts = (asked: readonly Part[]): Promise<void>[] =>
    groupBySlot(asked, ({ key }) => key).map(async (slotParts) => {
      for (const part of slotParts) part.isSent = true;
      const batch = await decideBatch(client, slotParts.map(asQuestion), { refused });
      serverTimeMs = batch.serverTimeMs;
      slotParts.forEach((part, index) => {
        part.states = batch.answers[index]?.beforeToken;
        part.serverTimeMs = batch.serverTimeMs;
        // The request was refused before this answer came.
        if (part.isVoid === true) refund(quotas, [part]);
      });
    });
  const corked = cork(client);
  const calls = askParts(parts);
  const findings: Finding[] = questions.map(() => ({ revoked: new StoreFault("timeout") }));
  const reads = questions.map(async ({ token }, index) => {
    findings[index] = token === undefined ? unasked : await findRevocation(client, token);
  });
  const replayed: (boolean | StoreFault | undefined)[] = questions.map(() => new StoreFault("timeout"));
  const replayChecks = questions.map(async ({ replayCheck }, index) => {
    replayed[index] = replayCheck === undefined ? undefined : await isReplayed(client, replayCheck).catch(faultOfError);
  });
  // All commands above were sent in this turn.
  corked.release();
  const failures = await settleWithin(partMs, [...calls, ...reads, ...replayChecks]);
  const late = groups.flatMap(({ before, after }, index) => {
    const question = questions[index] ?? nothingAsked;
    const isRefused = before.refuses() || isRefusedToken(question, findings[index]?.revoked, replayed[index]);
    return isSuspect[index] === true && !isRefused ? after.parts : [];
  });
  if (late.length > 0)
    failures.push(...(await settleWithin(Math.max(1, startedAt + partMs - monotonicNow()), askParts(late))));
  questions.forEach(({ token }, index) => {
    if (token === undefined) return;
    if (findings[index]?.revoked === true) revokedKeys.set(token.revokedKey, true);
    else if (isSuspect[index] === true && findings[index]?.revoked === false) revokedKeys.delete(token.revokedKey);
  });
  const answers = groups.map(({ before, after }, index) => {
    const checks = new KnownChecks({ ...(findings[index] ?? unasked), replayed: replayed[index] });
    return decide(questions[index] ?? nothingAsked, before, after, checks);
  });
  // An answer that counted nothing after a refusal may be without counter states, but its hash slots have answered.
  if (failures.length > 0 && parts.every(hasNoState) && answers.every(isLost))
    throw failures[0] ?? new StoreFault("timeout");
  const strikes = groups.flatMap(({ after }) => after.strikes());
  if (strikes.length === 0) return { answers, serverTimeMs };
  await settleWithin(partMs / 8, strike(client, strikes));
  const noted = answers.map((answer, index) => ({ ...answer, afterToken: groups[index]?.after.struck(answer) ?? [] }));
  return { answers: noted, serverTimeMs };
}

/** A refusal that may block its client. */
interface Strike {
  /** Costs more than any counter has room for, so that it is refused. */
  readonly consumption: Consumption;
  readonly note: (state: CounterState) => void;
}

/** Notes the refusals, with one script call for each slot. */
function strike(client: RedisLike, strikes: readonly Strike[]): Promise<void>[] {
  return groupBySlot(strikes, ({ consumption }) => consumption.key).map(async (slotStrikes) => {
    const questions = slotStrikes.map(({ consumption }) => ({ ...nothingAsked, beforeToken: [consumption] }));
    const { answers } = await decideBatch(client, questions);
    slotStrikes.forEach(({ note }, index) => {
      const state = answers[index]?.beforeToken[0];
      if (state !== undefined && !(state instanceof StoreFault) && state.blocked === true) note(state);
    });
  });
}

/** The consumptions of one group in one slot. */
interface Part {
  /** The key of the first consumption. */
  readonly key: string;
  readonly consumptions: readonly Consumption[];
  /** The same as they are asked. */
  readonly asked: readonly Consumption[];
  /** Undefined until its script call answers. */
  states?: readonly (CounterState | StoreFault)[] | undefined;
  serverTimeMs?: number;
  isSent?: true;
  /** The request was refused elsewhere: the consumptions must be refunded. */
  isVoid?: true;
}

/** Consumptions of one question. The hash slots have counted them already; those that must not count are refunded. */
class ClusterGroup implements ConsumptionGroup {
  readonly parts: readonly Part[];
  readonly #quotas: UsageCorrections;
  readonly #consumptions: readonly Consumption[];
  #isReached = false;
  readonly #blocked = new Map<Consumption, CounterState>();

  /**
   * @param striking "strikes later" if the request may be refused before this group, by a revoked token say: such
   *   refusals must not block the owner of the token. Then only {@link strikes} block.
   */
  constructor(quotas: UsageCorrections, consumptions: readonly Consumption[], striking?: "strikes later") {
    this.#quotas = quotas;
    this.#consumptions = consumptions;
    this.parts = groupBySlot(consumptions, ({ key }) => key).map((slot) => ({
      key: slot[0]?.key ?? "",
      consumptions: slot,
      asked: striking === undefined ? slot : slot.map(withoutStrike),
    }));
  }

  /** The strikes of this group, if the decision reached it. */
  strikes(): Strike[] {
    if (!this.#isReached) return [];
    const strikes: Strike[] = [];
    for (const consumption of this.#consumptions) {
      if (consumption.blockKey === undefined || (consumption.mode?.block?.after ?? 0) === 0) continue;
      const state = stateOf(this.parts, consumption);
      if (state instanceof StoreFault || !exceeds(consumption, state)) continue;
      if (state.blocked === true && consumption.mode?.block?.extends !== true) continue;
      const { limit, burst = limit, cost } = consumption;
      strikes.push({
        consumption: withChanges(consumption, { cost: Math.max(limit, burst, cost) + 1 }),
        note: ({ resetMs }) => void this.#blocked.set(consumption, blockedState(consumption, resetMs)),
      });
    }
    return strikes;
  }

  /** The states of an answer, with the blocks that its strikes have begun. */
  struck({ afterToken }: Answer): Answer["afterToken"] {
    if (this.#blocked.size === 0) return afterToken;
    return this.#consumptions.map((consumption, index) => this.#blocked.get(consumption) ?? afterToken[index]);
  }

  refuses(): boolean {
    this.#isReached = true;
    return this.#consumptions.some((consumption) => refuses(consumption, stateOf(this.parts, consumption)));
  }

  count(): (CounterState | StoreFault)[] {
    return this.#consumptions.map((consumption) => stateOf(this.parts, consumption));
  }

  leave(): (CounterState | StoreFault)[] {
    refund(this.#quotas, this.parts);
    return this.count();
  }

  skip(): undefined[] {
    refund(this.#quotas, this.parts);
    return this.#consumptions.map(() => undefined);
  }
}

const nothingAsked: Question = { beforeToken: [], token: undefined, afterToken: [] };

function asQuestion({ asked }: Part): Question {
  return { beforeToken: asked, token: undefined, afterToken: [] };
}

/** The same consumption, whose refusal leads to no block. */
function withoutStrike(consumption: Consumption): Consumption {
  const { mode } = consumption;
  if (mode?.block === undefined || mode.block.after === 0) return consumption;
  return withChanges(consumption, { mode: { ...mode, block: { ...mode.block, after: 0 } } });
}

type Finding = Pick<Answer, "revoked" | "cutoff">;

const unasked: Finding = { revoked: undefined };

/**
 * Looks for a record and cut-offs. First, the existence of each key is asked, whatever its type; then existing cut-offs
 * are read. A revocation is decisive, even if another key cannot be read.
 */
async function findRevocation(client: RedisLike, token: TokenQuestion): Promise<Finding> {
  const [isRecorded, ...cutoffs] = await Promise.all([
    exists(client, token.revokedKey).catch(faultOfError),
    ...token.cutoffKeys.map((key) => readCutoff(client, key).catch(faultOfError)),
  ]);
  if (isRecorded === true) return { revoked: true };
  const times = cutoffs.filter((cutoff) => typeof cutoff === "number");
  const latest = Math.max(...times);
  if (times.length > 0 && isCutOff(token, latest)) return { revoked: true, cutoff: latest };
  return { revoked: [isRecorded, ...cutoffs].find((part) => part instanceof StoreFault) ?? false };
}

async function exists(client: RedisLike, key: string): Promise<boolean> {
  return readFlag(await client.call("EXISTS", key));
}

async function readCutoff(client: RedisLike, key: string): Promise<number | undefined> {
  if (!(await exists(client, key))) return undefined;
  const text = readOptionalText(await client.call("GET", key));
  if (text === undefined) return undefined;
  const cutoff = integerIn(text, 0);
  if (cutoff === undefined) throw new StoreFault("unreadable", "WRONGTYPE");
  return cutoff;
}

async function isReplayed(client: RedisLike, { key, ttlMs }: ReplayCheck): Promise<boolean> {
  return !readWritten(await client.call("SET", key, "1", "NX", "PX", ttlMs));
}

function stateOf(parts: readonly Part[], consumption: Consumption): CounterState | StoreFault {
  for (const { consumptions, states } of parts) {
    const index = consumptions.indexOf(consumption);
    if (index !== -1) return states?.[index] ?? new StoreFault("timeout");
  }
  return unreadable();
}

/**
 * Refunds the consumptions of hash slots that did not refuse. A late answer is refunded when it comes. Without an
 * answer the request stays counted, but its slots of `concurrency` are given back by their names.
 */
function refund(quotas: UsageCorrections, parts: readonly Part[]): void {
  for (const part of parts) {
    if (part.isSent !== true) continue;
    const { consumptions, states, serverTimeMs = 0 } = part;
    if (states === undefined) {
      part.isVoid = true;
      quotas.adjust(
        consumptions
          .filter(({ slot }) => slot !== undefined)
          .map((consumption) => ({ consumption, receipt: -1, by: -1 })),
      );
      continue;
    }
    if (someRefuses(consumptions, states)) continue;
    const adjustments: Adjustment[] = [];
    part.states = states.map((state, index) => {
      const consumption = consumptions[index];
      if (consumption === undefined || state instanceof StoreFault || exceeds(consumption, state)) return state;
      const { consumed, resetMs, receipt = serverTimeMs + resetMs } = state;
      adjustments.push({ consumption, receipt, by: -consumption.cost });
      return { consumed: consumed - consumption.cost, resetMs };
    });
    quotas.adjust(adjustments);
  }
}

function hasNoState({ states }: Part): boolean {
  return states === undefined || states.every((state) => state instanceof StoreFault);
}

/** Has no part of this question an answer? */
function isLost({ beforeToken, revoked, replayed, afterToken }: Answer): boolean {
  return [...beforeToken, revoked, replayed, ...afterToken].every(
    (part) => part === undefined || part instanceof StoreFault,
  );
}

/**
 * Waits for all calls, up to `ms`, so that a stopped node does not delay the answers of the others. Resolves to the
 * failures.
 */
async function settleWithin(ms: number, calls: readonly Promise<void>[]): Promise<StoreFault[]> {
  const failures: StoreFault[] = [];
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    // One more turn, as in the batcher: after a blocked event loop the replies have arrived, but are not read yet.
    timer = setTimeout(() => {
      setImmediate(() => {
        failures.push(new StoreFault("timeout"));
        resolve();
      });
    }, ms);
  });
  const all = Promise.all(calls.map((call) => call.catch((error: unknown) => void failures.push(faultOfError(error)))));
  await Promise.race([all, timeout]);
  clearTimeout(timer);
  return failures;
}
