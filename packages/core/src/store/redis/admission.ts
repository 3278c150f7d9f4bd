import type { Answer, Charge, Question, Tally } from "../ports.js";
import { StoreFault } from "../ports.js";
import type { RedisLike } from "./connect.js";
import { faultOfReply } from "./faults.js";
import { admitScript } from "./scripts/admit.js";
import { runScript } from "./scripts/script.js";

/** What one script call says about a batch. */
export interface Admission {
  readonly answers: readonly Answer[];
  /** Redis' clock, in unix milliseconds. */
  readonly serverTimeMs: number;
}

/** Asks all questions in one script call. Their keys must be in one slot, or the server standalone. */
export async function admitTogether(client: RedisLike, questions: readonly Question[]): Promise<Admission> {
  const keys: string[] = [];
  const args: (string | number)[] = [];
  for (const question of questions) encode(question, keys, args);
  const reply = (await runScript(client, admitScript, keys, args)) as (number | string)[];
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

function encodeCharge({ key, limit, windowSeconds, cost }: Charge, keys: string[], args: (string | number)[]): void {
  keys.push(key);
  args.push(limit, windowSeconds * 1000, cost);
}

function decode(questions: readonly Question[], reply: readonly (number | string)[]): Admission {
  let at = 0;
  const next = (): number | string => reply[at++] ?? "ERR the answer is too short";

  function decodeTally(): Tally | StoreFault | undefined {
    const consumed = next();
    const resetMs = next();
    if (typeof consumed === "string") return faultOfReply(consumed);
    return consumed < 0 ? undefined : { consumed, resetMs: Number(resetMs) };
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
      beforeToken: beforeToken.map(() => decodeTally() ?? new StoreFault("unreadable")),
      afterToken: afterToken.map(decodeTally),
    };
  });
  return { answers, serverTimeMs };
}
