import type { Algorithm, Answer, Charge, ChargeRule, Question, Tally } from "../ports.js";
import { blockedTally, StoreFault } from "../ports.js";
import type { RedisLike } from "./connect.js";
import { faultOfReply } from "./faults.js";
import { admitScript } from "./scripts/admit.js";
import type { Script } from "./scripts/script.js";
import { runScript } from "./scripts/script.js";

/** What one script call says about a batch. */
export interface Admission {
  readonly answers: readonly Answer[];
  /** Redis' clock, in unix milliseconds. */
  readonly serverTimeMs: number;
}

/** Asks all questions in one script call. Their keys must be in one slot, or the server standalone. */
export async function admitTogether(
  client: RedisLike,
  questions: readonly Question[],
  script: Script = admitScript,
): Promise<Admission> {
  const keys: string[] = [];
  const args: (string | number)[] = [];
  for (const question of questions) encode(question, keys, args);
  const reply = (await runScript(client, script, keys, args)) as (number | string)[];
  return decode(questions, reply);
}

function encode({ beforeToken, token, use, afterToken }: Question, keys: string[], args: (string | number)[]): void {
  args.push(
    beforeToken.length,
    token === undefined ? 0 : 1 + token.cutoffKeys.length,
    token?.issuedAt ?? "",
    use?.ttlMs ?? "",
    afterToken.length,
  );
  for (const charge of beforeToken) encodeCharge(charge, keys, args);
  if (token !== undefined) keys.push(token.revokedKey, ...token.cutoffKeys);
  if (use !== undefined) keys.push(use.key);
  for (const charge of afterToken) encodeCharge(charge, keys, args);
}

/** What the scripts call the algorithms. */
export const kinds: Readonly<Record<Algorithm, string>> = {
  "fixed-window": "window",
  "sliding-window": "sliding",
  "token-bucket": "bucket",
  concurrency: "slots",
};

function encodeCharge(charge: Charge, keys: string[], args: (string | number)[]): void {
  keys.push(charge.key);
  if (charge.rule !== undefined) return encodeRule(charge, charge.rule, keys, args);
  args.push(charge.limit, charge.windowSeconds * 1000, charge.cost);
}

function encodeRule(
  { limit, windowSeconds, cost, burst, slot, blockKey }: Charge,
  { algorithm, shadow, block }: ChargeRule,
  keys: string[],
  args: (string | number)[],
): void {
  args.push(kinds[algorithm], limit, windowSeconds * 1000, cost, slot ?? burst ?? limit, shadow ? 1 : "");
  if (block === undefined || blockKey === undefined) {
    args.push("", "", "");
  } else {
    keys.push(blockKey);
    args.push(block.after, block.firstMs, block.longestMs);
  }
}

function decode(questions: readonly Question[], reply: readonly (number | string)[]): Admission {
  let at = 0;
  const next = (): number | string => reply[at++] ?? "ERR the answer is too short";

  function decodeTally(charge: Charge): Tally | StoreFault | undefined {
    const consumed = next();
    const resetMs = Number(next());
    const receipt = charge.rule === undefined ? -1 : Number(next());
    if (typeof consumed === "string") return faultOfReply(consumed);
    if (consumed === -1) return undefined;
    if (consumed === -2) return blockedTally(charge, resetMs);
    return receipt === -1 ? { consumed, resetMs } : { consumed, resetMs, receipt };
  }

  function decodeFinding(): boolean | StoreFault | undefined {
    const finding = next();
    if (typeof finding === "string") return faultOfReply(finding);
    return finding < 0 ? undefined : finding === 1;
  }

  const serverTimeMs = Number(next());
  const answers = questions.map(({ beforeToken, use, afterToken }): Answer => {
    const revoked = decodeFinding();
    const repeated = use === undefined ? undefined : decodeFinding();
    return {
      revoked,
      ...(use === undefined ? {} : { repeated }),
      beforeToken: beforeToken.map((charge) => decodeTally(charge) ?? new StoreFault("unreadable")),
      afterToken: afterToken.map(decodeTally),
    };
  });
  return { answers, serverTimeMs };
}
