import type { Redis } from "ioredis";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type { Adjustment, Answer, Consumption, Question } from "../../../packages/core/src/store/ports/decisions.js";
import { adjustmentLine } from "../../../packages/core/src/store/redis/usage-corrections.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { decideBatch, RefusedCounters } from "../../../packages/core/src/store/redis/decide-batch.js";
import { withoutNumber, wordsOf } from "../../../packages/core/src/store/redis/give-backs.js";
import { runScript } from "../../../packages/core/src/store/redis/run-script.js";
import { adjustScriptWith } from "../../../packages/core/src/store/redis/scripts/adjust.js";
import { decideScriptWith } from "../../../packages/core/src/store/redis/scripts/decide.js";
import { freshPrefix } from "../../support/redis.js";

/** A store whose clock the test moves. */
export interface ClockedStore {
  ask(question: Partial<Question>, now: number): Promise<Answer>;
  adjust(adjustment: Adjustment, now: number): Promise<void>;
}

/** Ahead of every clock, so that what Redis keeps for a test does not end by Redis' own. */
export const clockStart: number = Date.now() + 3_600_000;

const nothing: Question = { beforeToken: [], token: undefined, afterToken: [] };

export function openClockedMemory(): ClockedStore {
  let now = 0;
  const store = new MemoryDecisionStore({ now: () => now });
  return {
    async ask(question, at) {
      now = at;
      return Promise.resolve(store.ask({ ...nothing, ...question }));
    },
    async adjust(adjustment, at) {
      now = at;
      return Promise.resolve(store.corrections.adjust([adjustment]));
    },
  };
}

/** The same client for an application that wraps it, and hands on commands alone: replies are lists, and never bytes. */
export function withoutBytes(client: Redis): RedisLike {
  const { status } = client;
  return { status, call: (command, ...args) => client.call(command, ...args), on: () => client, off: () => client };
}

/**
 * The scripts as they are, but for their clock.
 *
 * @param asked the client through which decisions are asked
 */
export function openClockedRedis(
  client: Redis,
  asked: RedisLike = client,
): ClockedStore & { askTogether(questions: readonly Question[], now: number): Promise<readonly Answer[]> } {
  const key = `${freshPrefix()}clock`;
  const clock = `local now = tonumber(redis.call('GET', '${key}'))\n`;
  const [admit, adjust] = [decideScriptWith(clock), adjustScriptWith(clock)];
  const refused = new RefusedCounters();
  return {
    async ask(question, now) {
      await client.set(key, now, "EX", 600);
      const { answers } = await decideBatch(asked, [{ ...nothing, ...question }], { script: admit });
      if (answers[0] === undefined) throw new Error("no answer");
      return answers[0];
    },
    /** Asks all questions in one call. */
    async askTogether(questions, now) {
      await client.set(key, now, "EX", 600);
      return (await decideBatch(asked, questions, { script: admit, refused })).answers;
    },
    async adjust(adjustment, now) {
      await client.set(key, now, "EX", 600);
      await runScript(client, adjust, ...withoutNumber(wordsOf([adjustmentLine(adjustment)])));
    },
  };
}

/** A charge of a policy with a rule. */
export function ruledCharge(more: Partial<Consumption> & Pick<Consumption, "key">): Consumption {
  const rule = { algorithm: "fixed-window", shadow: false, block: undefined } as const;
  return { limit: 5, windowSeconds: 60, cost: 1, mode: rule, ...more };
}
