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
import { exceeds, isCutOff, refuses, StoreFault } from "../ports/decisions.js";
import type { BatchDecision } from "./decide-batch.js";
import { decideBatch } from "./decide-batch.js";
import type { RedisLike } from "./client.js";
import { cork } from "./corked.js";
import { faultOfError } from "./faults.js";
import { hashTag } from "./hash-tag.js";
import { integerIn, readFlag, readOptionalText, readWritten, unreadable } from "./replies.js";

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
  const bySlot = new Map<string, Part[]>();
  const parts = questions.map((question, index) => [
    ...split(question.beforeToken, index, "beforeToken"),
    ...split(question.afterToken, index, "afterToken"),
  ]);
  for (const part of parts.flat()) {
    const slot = bySlot.get(part.tag);
    if (slot === undefined) bySlot.set(part.tag, [part]);
    else slot.push(part);
  }
  let serverTimeMs = Number.NaN;
  const corked = cork(client);
  const calls = [...bySlot.values()].map(async (slotParts) => {
    const admission = await decideBatch(client, slotParts.map(asQuestion));
    serverTimeMs = admission.serverTimeMs;
    slotParts.forEach((part, index) => {
      part.tallies = admission.answers[index]?.beforeToken;
      part.serverTimeMs = admission.serverTimeMs;
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
  const answers = questions.map((question, index) =>
    combine(quotas, question, parts[index] ?? [], { ...(findings[index] ?? unasked), repeated: repeated[index] }),
  );
  if (failures.length > 0 && answers.every(isLost)) throw failures[0] ?? new StoreFault("timeout");
  return { answers, serverTimeMs };
}

/** The charges of one question in one slot. */
interface Part {
  readonly tag: string;
  readonly question: number;
  readonly phase: "beforeToken" | "afterToken";
  readonly charges: Consumption[];
  /** Undefined until its script call answers. */
  tallies?: readonly (CounterState | StoreFault)[] | undefined;
  serverTimeMs?: number;
  /** The request was refused elsewhere: what was counted here is to be given back. */
  isVoid?: true;
}

function split(charges: readonly Consumption[], question: number, phase: Part["phase"]): Part[] {
  const parts: Part[] = [];
  for (const charge of charges) {
    const tag = hashTag(charge.key);
    const part = parts.find((known) => known.tag === tag);
    if (part === undefined) parts.push({ tag, question, phase, charges: [charge] });
    else part.charges.push(charge);
  }
  return parts;
}

function asQuestion({ charges }: Part): Question {
  return { beforeToken: charges, token: undefined, afterToken: [] };
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

function combine(
  quotas: UsageCorrections,
  question: Question,
  parts: readonly Part[],
  { revoked, cutoff, repeated }: Pick<Answer, "revoked" | "cutoff" | "repeated">,
): Answer {
  const { beforeToken, afterToken } = question;
  const unreached = afterToken.map(() => undefined);
  const tallies = (charges: readonly Consumption[]): (CounterState | StoreFault)[] =>
    charges.map((charge) => stateOf(parts, charge));
  if (beforeToken.some((charge) => isRefusal(charge, stateOf(parts, charge)))) {
    refund(quotas, parts);
    return { beforeToken: tallies(beforeToken), revoked: undefined, afterToken: unreached };
  }
  if (revoked === true || (repeated !== undefined && repeated !== false)) {
    refund(
      quotas,
      parts.filter(({ phase }) => phase === "afterToken"),
    );
    return { beforeToken: tallies(beforeToken), revoked, ...byCutoff(cutoff), repeated, afterToken: unreached };
  }
  if (afterToken.some((charge) => isRefusal(charge, stateOf(parts, charge)))) refund(quotas, parts);
  return {
    beforeToken: tallies(beforeToken),
    revoked,
    repeated,
    afterToken: tallies(afterToken),
  };
}

function byCutoff(cutoff: number | undefined): Pick<Answer, "cutoff"> {
  return cutoff === undefined ? {} : { cutoff };
}

function stateOf(parts: readonly Part[], charge: Consumption): CounterState | StoreFault {
  for (const { charges, tallies } of parts) {
    const index = charges.indexOf(charge);
    if (index !== -1) return tallies?.[index] ?? new StoreFault("timeout");
  }
  return unreadable();
}

function isRefusal(charge: Consumption, tally: CounterState | StoreFault | undefined): boolean {
  return tally !== undefined && !(tally instanceof StoreFault) && refuses(charge, tally);
}

/**
 * Gives back what was counted in slots that did not refuse. Where the answer is late, that waits for it; a request whose answer
 * never comes stays counted, but does not keep its slots of `concurrency`, which are known by their names.
 */
function refund(quotas: UsageCorrections, parts: readonly Part[]): void {
  for (const part of parts) {
    const { charges, tallies, serverTimeMs = 0 } = part;
    if (tallies === undefined) {
      part.isVoid = true;
      quotas.adjust(
        charges.filter(({ slot }) => slot !== undefined).map((charge) => ({ charge, receipt: -1, by: -1 })),
      );
      continue;
    }
    if (charges.some((charge, index) => isRefusal(charge, tallies[index]))) continue;
    const adjustments: Adjustment[] = [];
    part.tallies = tallies.map((tally, index) => {
      const charge = charges[index];
      if (charge === undefined || tally instanceof StoreFault || exceeds(charge, tally)) return tally;
      const { consumed, resetMs, receipt = serverTimeMs + resetMs } = tally;
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
