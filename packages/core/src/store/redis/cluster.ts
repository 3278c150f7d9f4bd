import type { Adjustment, Answer, Charge, Question, Tally, TokenQuestion, UseQuestion } from "../ports.js";
import { exceeds, refuses, StoreFault } from "../ports.js";
import { adjustTogether } from "./adjustments.js";
import type { Admission } from "./admission.js";
import { admitTogether } from "./admission.js";
import type { RedisLike } from "./connect.js";
import { cork } from "./corked.js";
import { faultOfError } from "./faults.js";
import { hashTag } from "./hash-tag.js";

/**
 * The questions of a batch on Redis Cluster, where one script sees one slot: the charges of each slot go out as one script
 * call, the revocation records as single-key reads, all at once. Inside a slot a decision is all or nothing; across slots
 * it is check, charge, and refund what a refusal elsewhere makes void.
 */
export async function admitAcrossSlots(
  client: RedisLike,
  questions: readonly Question[],
  partMs: number,
): Promise<Admission> {
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
    const admission = await admitTogether(client, slotParts.map(asQuestion));
    serverTimeMs = admission.serverTimeMs;
    slotParts.forEach((part, index) => {
      part.tallies = admission.answers[index]?.beforeToken;
      part.serverTimeMs = admission.serverTimeMs;
    });
  });
  const revoked: (boolean | StoreFault | undefined)[] = questions.map(() => new StoreFault("timeout"));
  const reads = questions.map(async ({ token }, index) => {
    revoked[index] = token === undefined ? false : await isRevoked(client, token).catch(faultOfError);
  });
  const repeated: (boolean | StoreFault | undefined)[] = questions.map(() => new StoreFault("timeout"));
  const uses = questions.map(async ({ use }, index) => {
    repeated[index] = use === undefined ? undefined : await isRepeated(client, use).catch(faultOfError);
  });
  // All of the above has been sent by now, in this turn.
  corked.release();
  const failures = await settleWithin(partMs, [...calls, ...reads, ...uses]);
  const answers = questions.map((question, index) =>
    combine(client, question, parts[index] ?? [], { revoked: revoked[index], repeated: repeated[index] }),
  );
  if (failures.length > 0 && answers.every(isLost)) throw failures[0] ?? new StoreFault("timeout");
  return { answers, serverTimeMs };
}

/** The charges of one question in one slot. */
interface Part {
  readonly tag: string;
  readonly question: number;
  readonly phase: "beforeToken" | "afterToken";
  readonly charges: Charge[];
  /** Undefined until its script call answers. */
  tallies?: readonly (Tally | StoreFault)[] | undefined;
  serverTimeMs?: number;
}

function split(charges: readonly Charge[], question: number, phase: Part["phase"]): Part[] {
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

async function isRevoked(
  client: RedisLike,
  { revokedKey, cutoffKeys, issuedAt }: TokenQuestion,
): Promise<boolean | StoreFault> {
  const [record, ...cutoffs] = await Promise.all([
    client.call("EXISTS", revokedKey),
    ...cutoffKeys.map((key) => client.call("GET", key)),
  ]);
  if (record === 1) return true;
  const times = cutoffs
    .filter((cutoff) => typeof cutoff === "string")
    .map((cutoff) => (cutoff === "" ? NaN : Number(cutoff)));
  if (times.some(Number.isNaN)) return new StoreFault("unreadable");
  return times.some((time) => issuedAt === undefined || issuedAt <= time);
}

async function isRepeated(client: RedisLike, { key, ttlMs }: UseQuestion): Promise<boolean> {
  return (await client.call("SET", key, "1", "NX", "PX", ttlMs)) === null;
}

function combine(
  client: RedisLike,
  question: Question,
  parts: readonly Part[],
  { revoked, repeated }: Pick<Answer, "revoked" | "repeated">,
): Answer {
  const { beforeToken, token, afterToken } = question;
  const tokenAnswer = token === undefined ? undefined : revoked;
  const unreached = afterToken.map(() => undefined);
  const tallies = (charges: readonly Charge[]): (Tally | StoreFault)[] =>
    charges.map((charge) => tallyOf(parts, charge));
  if (beforeToken.some((charge) => isRefusal(charge, tallyOf(parts, charge)))) {
    refund(client, parts);
    return { beforeToken: tallies(beforeToken), revoked: undefined, afterToken: unreached };
  }
  if (revoked === true || (repeated !== undefined && repeated !== false)) {
    refund(
      client,
      parts.filter(({ phase }) => phase === "afterToken"),
    );
    return { beforeToken: tallies(beforeToken), revoked: tokenAnswer, repeated, afterToken: unreached };
  }
  if (afterToken.some((charge) => isRefusal(charge, tallyOf(parts, charge)))) refund(client, parts);
  return {
    beforeToken: tallies(beforeToken),
    revoked: tokenAnswer,
    repeated,
    afterToken: tallies(afterToken),
  };
}

function tallyOf(parts: readonly Part[], charge: Charge): Tally | StoreFault {
  for (const { charges, tallies } of parts) {
    const index = charges.indexOf(charge);
    if (index !== -1) return tallies?.[index] ?? new StoreFault("timeout");
  }
  return new StoreFault("unreadable");
}

function isRefusal(charge: Charge, tally: Tally | StoreFault | undefined): boolean {
  return tally !== undefined && !(tally instanceof StoreFault) && refuses(charge, tally);
}

/** Gives back what was counted in slots that did not refuse. A lost refund leaves a request counted, never uncounted. */
function refund(client: RedisLike, parts: readonly Part[]): void {
  for (const part of parts) {
    const { charges, tallies, serverTimeMs = 0 } = part;
    if (tallies === undefined || charges.some((charge, index) => isRefusal(charge, tallies[index]))) continue;
    const adjustments: Adjustment[] = [];
    part.tallies = tallies.map((tally, index) => {
      const charge = charges[index];
      if (charge === undefined || tally instanceof StoreFault || exceeds(charge, tally)) return tally;
      const { consumed, resetMs, receipt = serverTimeMs + resetMs } = tally;
      adjustments.push({ charge, receipt, by: -charge.cost });
      return { consumed: consumed - charge.cost, resetMs };
    });
    if (adjustments.length > 0) adjustTogether(client, adjustments).catch(() => undefined);
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
