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
import { exceeds, isCutOff, refuses, someRefuses, StoreFault } from "../ports/decisions.js";
import type { BatchDecision } from "./decide-batch.js";
import { decideBatch } from "./decide-batch.js";
import type { RedisLike } from "./client.js";
import { cork } from "./client.js";
import { faultOfError, integerIn, readFlag, readOptionalText, readWritten, unreadable } from "./replies.js";
import { groupBySlot } from "./hash-slot.js";

export interface AcrossSlotsOptions {
  /** How long the answer of one slot may take. */
  readonly partMs: number;
  /** Gives back what a refusal in another slot makes void. */
  readonly quotas: UsageCorrections;
}

/**
 * The questions of a batch on Redis Cluster, where one script sees one slot: the charges of each slot go out as one script
 * call, the revocation records as single-key reads, all at once. Inside a slot a decision is all or nothing; across slots
 * it is check, charge, and refund what a refusal elsewhere makes void.
 */
export async function decideAcrossSlots(
  client: RedisLike,
  questions: readonly Question[],
  { partMs, quotas }: AcrossSlotsOptions,
): Promise<BatchDecision> {
  const groups = questions.map(({ beforeToken, afterToken }) => ({
    before: new ClusterGroup(quotas, beforeToken),
    after: new ClusterGroup(quotas, afterToken),
  }));
  const parts = groups.flatMap(({ before, after }) => [...before.parts, ...after.parts]);
  let serverTimeMs = Number.NaN;
  const corked = cork(client);
  const calls = groupBySlot(parts, ({ key }) => key).map(async (slotParts) => {
    const batch = await decideBatch(client, slotParts.map(asQuestion));
    serverTimeMs = batch.serverTimeMs;
    slotParts.forEach((part, index) => {
      part.states = batch.answers[index]?.beforeToken;
      part.serverTimeMs = batch.serverTimeMs;
      // Its request was refused before this answer came.
      if (part.isVoid === true) refund(quotas, [part]);
    });
  });
  const findings: Finding[] = questions.map(() => ({ revoked: new StoreFault("timeout") }));
  const reads = questions.map(async ({ token }, index) => {
    findings[index] = token === undefined ? unasked : await findRevocation(client, token);
  });
  const repeated: (boolean | StoreFault | undefined)[] = questions.map(() => new StoreFault("timeout"));
  const uses = questions.map(async ({ use }, index) => {
    repeated[index] = use === undefined ? undefined : await isRepeated(client, use).catch(faultOfError);
  });
  // All of the above has been sent by now, in this turn.
  corked.release();
  const failures = await settleWithin(partMs, [...calls, ...reads, ...uses]);
  const answers = groups.map(({ before, after }, index) => {
    const checks = new KnownChecks({ ...(findings[index] ?? unasked), repeated: repeated[index] });
    return decide(questions[index] ?? nothingAsked, before, after, checks);
  });
  if (failures.length > 0 && answers.every(isLost)) throw failures[0] ?? new StoreFault("timeout");
  return { answers, serverTimeMs };
}

/** The consumptions of one group in one slot. */
interface Part {
  /** The key of the first one. */
  readonly key: string;
  readonly consumptions: readonly Consumption[];
  /** Undefined until its script call answers. */
  states?: readonly (CounterState | StoreFault)[] | undefined;
  serverTimeMs?: number;
  /** The request was refused elsewhere: what was counted here is to be given back. */
  isVoid?: true;
}

/** Consumptions of one question, which the slots of a Cluster have counted by themselves: what must not count is refunded. */
class ClusterGroup implements ConsumptionGroup {
  readonly parts: readonly Part[];
  readonly #quotas: UsageCorrections;
  readonly #consumptions: readonly Consumption[];

  constructor(quotas: UsageCorrections, consumptions: readonly Consumption[]) {
    this.#quotas = quotas;
    this.#consumptions = consumptions;
    this.parts = groupBySlot(consumptions, ({ key }) => key).map((slot) => ({
      key: slot[0]?.key ?? "",
      consumptions: slot,
    }));
  }

  refuses(): boolean {
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

function asQuestion({ consumptions }: Part): Question {
  return { beforeToken: consumptions, token: undefined, afterToken: [] };
}

type Finding = Pick<Answer, "revoked" | "cutoff">;

const unasked: Finding = { revoked: undefined };

/**
 * Whether each key exists, whatever its type; only cut-offs that do are read, in a second round. What revokes is decisive, also
 * where something else cannot be read.
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

async function isRepeated(client: RedisLike, { key, ttlMs }: ReplayCheck): Promise<boolean> {
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
 * Gives back what was counted in slots that did not refuse. Where the answer is late, that waits for it; a request whose answer
 * never comes stays counted, but does not keep its slots of `concurrency`, which are known by their names.
 */
function refund(quotas: UsageCorrections, parts: readonly Part[]): void {
  for (const part of parts) {
    const { consumptions, states, serverTimeMs = 0 } = part;
    if (states === undefined) {
      part.isVoid = true;
      quotas.adjust(
        consumptions.filter(({ slot }) => slot !== undefined).map((charge) => ({ charge, receipt: -1, by: -1 })),
      );
      continue;
    }
    if (someRefuses(consumptions, states)) continue;
    const adjustments: Adjustment[] = [];
    part.states = states.map((state, index) => {
      const charge = consumptions[index];
      if (charge === undefined || state instanceof StoreFault || exceeds(charge, state)) return state;
      const { consumed, resetMs, receipt = serverTimeMs + resetMs } = state;
      adjustments.push({ charge, receipt, by: -charge.cost });
      return { consumed: consumed - charge.cost, resetMs };
    });
    quotas.adjust(adjustments);
  }
}

/** Did nothing of this question arrive? */
function isLost({ beforeToken, revoked, repeated, afterToken }: Answer): boolean {
  return [...beforeToken, revoked, repeated, ...afterToken].every(
    (part) => part === undefined || part instanceof StoreFault,
  );
}

/** Waits for all, but not longer than a stopped node may hold up the answers of the others. Resolves to the failures. */
async function settleWithin(ms: number, calls: readonly Promise<void>[]): Promise<StoreFault[]> {
  const failures: StoreFault[] = [];
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    // One more turn, as in the batcher: after a stall of our own the replies are there, but not read yet.
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
