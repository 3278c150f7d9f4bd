import { expect } from "chai";
import fc from "fast-check";
import { Redis } from "ioredis";
import { LRUCache } from "lru-cache";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type {
  Answer,
  Consumption,
  CountingMode,
  Question,
  TokenQuestion,
} from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { adjustmentLine } from "../../../packages/core/src/store/redis/usage-corrections.js";
import { decideAcrossSlots } from "../../../packages/core/src/store/redis/cluster.js";
import { withoutNumber, wordsOf } from "../../../packages/core/src/store/redis/give-backs.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { adjustScript } from "../../../packages/core/src/store/redis/scripts/adjust.js";
import { decideBatch } from "../../../packages/core/src/store/redis/decide-batch.js";
import { decideScript } from "../../../packages/core/src/store/redis/scripts/decide.js";
import { defineScript } from "../../../packages/core/src/store/redis/scripts/lua.js";
import { runScript } from "../../../packages/core/src/store/redis/run-script.js";
import { clockStart, openClockedRedis, withoutBytes } from "../../limits/support/clocked-stores.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { isSoak } from "../../support/soak.js";
import { until } from "../../support/until.js";

const counter = fc.record({
  algorithm: fc.constantFrom("plain", "fixed-window", "sliding-window", "token-bucket", "concurrency"),
  limit: fc.constantFrom(0, 1, 2, 5),
  burst: fc.constantFrom(1, 3, 6),
  shadow: fc.boolean(),
  blocks: fc.constantFrom(undefined, "once", "extended"),
});
const picks = fc.uniqueArray(fc.record({ of: fc.nat({ max: 2 }), cost: fc.constantFrom(0, 1, 1, 2) }), {
  maxLength: 2,
  selector: ({ of }) => of,
});
const request = fc.record({
  wait: fc.constantFrom(0, 0, 50, 4000, 31_000),
  before: picks,
  after: picks,
  record: fc.option(fc.constantFrom("none", "none", "revoked"), { nil: undefined }),
  cutoffs: fc.subarray(["none", "early", "late", "unreadable"]),
  issuedAt: fc.constantFrom(undefined, 100, 1500, 5000),
  use: fc.option(fc.nat({ max: 2 }), { nil: undefined }),
  refusesUnknown: fc.constantFrom(undefined, false, true),
});
const run = fc.record({
  before: fc.tuple(counter, counter, counter),
  after: fc.tuple(counter, counter, counter),
  requests: fc.array(request, { minLength: 1, maxLength: 20 }),
});
type Requests = Run["requests"];

/** Plain windows alone, with the same terms in many requests. */
const plainRun: fc.Arbitrary<Run> = fc.record({
  before: fc.constant([plainCounter(2), plainCounter(2), plainCounter(2)] satisfies Run["before"]),
  after: fc.constant([plainCounter(5), plainCounter(5), plainCounter(1)] satisfies Run["after"]),
  requests: fc.array(
    fc.record<Requests[number]>({
      wait: fc.constant(0),
      before: fc.constantFrom<Picks[]>([{ of: 0, cost: 1 }], [{ of: 1, cost: 1 }]),
      after: fc.constantFrom<Picks[]>(
        [{ of: 0, cost: 1 }],
        [{ of: 1, cost: 2 }],
        [
          { of: 1, cost: 1 },
          { of: 2, cost: 1 },
        ],
      ),
      record: fc.constantFrom<("none" | "revoked")[]>("none", "none", "revoked"),
      cutoffs: fc.constantFrom(["none"], ["none"], ["early"], ["unreadable"]),
      issuedAt: fc.constantFrom<(100 | 1500)[]>(100, 1500),
      use: fc.constant(undefined),
      refusesUnknown: fc.boolean(),
    }),
    { minLength: 1, maxLength: 40 },
  ),
});

function plainCounter(limit: Counter["limit"]): Counter {
  return { algorithm: "plain", limit, burst: 1, shadow: false, blocks: undefined };
}

type Counter = typeof counter extends fc.Arbitrary<infer T> ? T : never;
type Run = typeof run extends fc.Arbitrary<infer T> ? T : never;
type Picks = Run["requests"][number]["before"];

/** The same questions for every store: keys of one run, slots of one request. */
function questionsOf({ before, after, requests }: Run, prefix: string): Question[] {
  return requests.map((one, index) => {
    const group = (name: string, counters: readonly Counter[], picked: Picks): Consumption[] =>
      picked.map(({ of, cost }) => consumptionOf(`${prefix}{${name}${of}}`, counters[of] as Counter, cost, index));
    return {
      beforeToken: group("b", before, one.before),
      token:
        one.record === undefined
          ? undefined
          : {
              revokedKey: prefix + one.record,
              cutoffKeys: one.cutoffs.map((name) => `${prefix}cutoff-${name}`),
              issuedAt: one.issuedAt,
            },
      replayCheck: one.use === undefined ? undefined : { key: `${prefix}use-${one.use}`, ttlMs: 3_600_000 },
      afterToken: group("a", after, one.after),
      refusesUnknown: one.refusesUnknown,
    };
  });
}

function consumptionOf(key: string, { algorithm, limit, burst, shadow, blocks }: Counter, cost: number, index: number) {
  const plain = { key, limit, cost, windowSeconds: 60 };
  if (algorithm === "plain") return plain;
  const block =
    blocks === undefined ? undefined : { after: 2, firstMs: 10_000, maxMs: 40_000, extends: blocks === "extended" };
  const rule: CountingMode = { algorithm, shadow, block };
  return {
    ...plain,
    mode: rule,
    ...(algorithm === "token-bucket" ? { burst } : {}),
    ...(algorithm === "concurrency" ? { slot: `s${index}`, cost: Math.min(cost, 1) } : {}),
    ...(blocks !== undefined ? { blockKey: `${key}:block` } : {}),
  };
}

const cutoffTimes = { early: 1000, late: 2000 };

async function recordIn(memory: MemoryDecisionStore, client: Redis, prefix: string): Promise<void> {
  const ends = clockStart / 1000 + 3600;
  await memory.revoke(`${prefix}revoked`, ends);
  await memory.revoke(`${prefix}cutoff-unreadable`, ends);
  await client.set(`${prefix}revoked`, "revoked", "EX", 600);
  await client.set(`${prefix}cutoff-unreadable`, "revoked", "EX", 600);
  for (const [name, at] of Object.entries(cutoffTimes)) {
    await memory.cutOff(`${prefix}cutoff-${name}`, 7200, at);
    await client.set(`${prefix}cutoff-${name}`, at, "EX", 600);
  }
}

/** An answer as text to compare: a part that was not asked and one that was not reached are the same. */
function comparable({ beforeToken, revoked, cutoff, replayed, afterToken }: Answer, hasTimes: boolean): unknown {
  const faultOr = (part: unknown): unknown => (part instanceof StoreFault ? `fault: ${part.kind}` : part);
  const stateOr = (part: Answer["afterToken"][number]): unknown =>
    hasTimes || part === undefined || part instanceof StoreFault ? faultOr(part) : part.consumed;
  return {
    before: beforeToken.map(stateOr),
    revoked: faultOr(revoked),
    cutoff,
    replayed: faultOr(replayed),
    after: afterToken.map(stateOr),
  };
}

describe("a decision in process", () => {
  let client: Redis;
  before(() => {
    client = new Redis(testRedisUrl());
  });
  after(() => client.disconnect());

  const replies = { bytes: (one: Redis) => one, lists: withoutBytes };
  for (const [kind, asked] of Object.entries(replies)) {
    it(`is the decision of the script in Redis, in every part and every time, for any questions, by ${kind}`, async () => {
      const redis = openClockedRedis(client, asked(client));
      await fc.assert(
        fc.asyncProperty(run, async (one) => {
          let now = clockStart;
          const prefix = freshPrefix();
          const memory = new MemoryDecisionStore({ now: () => now });
          await recordIn(memory, client, prefix);
          for (const [index, question] of questionsOf(one, prefix).entries()) {
            now += one.requests[index]?.wait ?? 0;
            const expected = comparable(memory.ask(question), true);
            expect(comparable(await redis.ask(question, now), true)).to.deep.equal(expected);
          }
        }),
        { numRuns: isSoak ? 200 : 25 },
      );
    });

    it(`is the decision of the script about each of many questions in one call, by ${kind}`, async () => {
      const redis = openClockedRedis(client, asked(client));
      const calls = fc.record({ one: plainRun, sizes: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 20 }) });
      await fc.assert(
        fc.asyncProperty(fc.oneof(calls, fc.record({ one: run, sizes: fc.constant([20]) })), async ({ one, sizes }) => {
          const prefix = freshPrefix();
          const memory = new MemoryDecisionStore({ now: () => clockStart });
          await recordIn(memory, client, prefix);
          const questions = questionsOf(one, prefix);
          for (const size of sizes) {
            const together = questions.splice(0, size);
            if (together.length === 0) break;
            const expected = together.map((question) => comparable(memory.ask(question), true));
            const answers = await redis.askTogether(together, clockStart);
            expect(answers.map((answer) => comparable(answer, true))).to.deep.equal(expected);
          }
        }),
        { numRuns: isSoak ? 400 : 40 },
      );
    });
  }

  it("counts once and is read where the server lacks the library struct, and where a value cannot be read", async () => {
    const without = defineScript(`local struct = nil\n${decideScript.source}`);
    for (const [script, odd] of [
      [without, "5"],
      [decideScript, "text"],
    ] as const) {
      const prefix = freshPrefix();
      await client.set(`${prefix}b`, odd, "EX", 600);
      const plain = (name: string): Consumption => ({ key: prefix + name, limit: 9, cost: 1, windowSeconds: 60 });
      const question = { beforeToken: [plain("a")], token: undefined, afterToken: [plain("b")] };
      const { answers } = await decideBatch(client, [question, question], { script });
      const states = answers.map(({ beforeToken, afterToken }) =>
        [...beforeToken, ...afterToken].map((state) =>
          state === undefined || state instanceof StoreFault ? state?.reply : state.consumed,
        ),
      );
      expect(states).to.deep.equal(
        odd === "5"
          ? [
              [1, 6],
              [2, 7],
            ]
          : [
              [1, "WRONGTYPE"],
              [2, "WRONGTYPE"],
            ],
      );
    }
  });

  it("leaves no counter behind that was new when another one refused, and keeps the end of a window", async () => {
    const redis = openClockedRedis(client);
    const prefix = freshPrefix();
    const plain = (name: string, limit: number): Consumption => ({
      key: `${prefix}${name}`,
      limit,
      cost: 1,
      windowSeconds: 60,
    });
    const question = { beforeToken: [plain("a", 9)], token: undefined, afterToken: [plain("b", 9), plain("c", 0)] };
    const [first] = await redis.askTogether([question], clockStart);
    expect(first?.afterToken[1]).to.include({ consumed: 1 });
    expect(await client.exists(`${prefix}a`, `${prefix}b`, `${prefix}c`)).to.equal(0);
    const other = { ...question, afterToken: [plain("b", 9)] };
    await redis.askTogether([other, other], clockStart);
    const ends = await client.call("PEXPIRETIME", `${prefix}a`);
    await redis.askTogether([question, question], clockStart + 5);
    expect(await client.mget(`${prefix}a`, `${prefix}b`, `${prefix}c`)).to.deep.equal(["2", "2", null]);
    expect(await client.call("PEXPIRETIME", `${prefix}a`)).to.equal(ends);
  });

  it("gives a counter without an end a window, and counts no value that is not a counter", async () => {
    const redis = openClockedRedis(client);
    const prefix = freshPrefix();
    const ask = async (name: string): Promise<unknown> => {
      const consumption = { key: `${prefix}${name}`, limit: 9, cost: 1, windowSeconds: 60 };
      const question = { beforeToken: [consumption], token: undefined, afterToken: [] };
      const [answer, again] = await redis.askTogether([question, question], clockStart);
      return [answer, again].map((one) => {
        const state = one?.beforeToken[0];
        return state instanceof StoreFault ? state.reply : state;
      });
    };
    await client.set(`${prefix}endless`, "3");
    expect(await ask("endless")).to.deep.equal([4, 5].map((consumed) => ({ consumed, resetMs: 60_000 })));
    for (const value of ["-5", "3.5", " 3", "text", "9007199254740993", ""]) {
      await client.set(`${prefix}odd`, value, "PX", 60_000);
      expect(await ask("odd"), value).to.deep.equal(["WRONGTYPE", "WRONGTYPE"]);
      expect(await client.get(`${prefix}odd`), value).to.equal(value);
    }
  });

  it("writes nothing for a client that goes on after a refusal", async () => {
    const redis = openClockedRedis(client);
    const prefix = freshPrefix();
    const consumption = { key: `${prefix}a`, limit: 1, cost: 1, windowSeconds: 60 };
    const question = { beforeToken: [consumption], token: undefined, afterToken: [] };
    await redis.askTogether([question, question], clockStart);
    const monitor = await client.monitor();
    const calls: string[] = [];
    monitor.on("monitor", (_time: string, [name = "", key = ""]: string[]) => {
      if (key === consumption.key) calls.push(name.toUpperCase());
    });
    await redis.askTogether([question], clockStart);
    await client.get(consumption.key);
    await until(() => calls.at(-1) === "GET" && calls.length > 2);
    monitor.disconnect();
    expect(new Set(calls)).to.deep.equal(new Set(["GET", "PEXPIRETIME"]));
  });

  it("is the decision of the slots of a Cluster together, for any questions without replays", async () => {
    await fc.assert(
      fc.asyncProperty(run, async (one) => {
        const prefix = freshPrefix();
        const revokedKeys = new LRUCache<string, true>({ max: 9 });
        const memory = new MemoryDecisionStore({ now: () => clockStart });
        await recordIn(memory, client, prefix);
        const refunds: Promise<unknown>[] = [];
        const quotas = {
          adjust: (adjustments: Parameters<typeof memory.corrections.adjust>[0]) =>
            refunds.push(
              ...adjustments
                .filter(({ by }) => by !== 0)
                .map((one) => runScript(client, adjustScript, ...withoutNumber(wordsOf([adjustmentLine(one)])))),
            ),
          renew: () => undefined,
          expire: () => undefined,
        };
        // A slot of a Cluster records a use although another slot refuses the request.
        const requests = one.requests.map((each, index) => ({
          ...each,
          use: each.use === undefined ? undefined : index,
        }));
        const questions = questionsOf({ ...one, requests }, prefix);
        for (const question of questions) {
          const { answers } = await decideAcrossSlots(client, [question], { partMs: 5000, quotas, revokedKeys });
          await Promise.all(refunds.splice(0));
          expect(comparable(answers[0] as Answer, false)).to.deep.equal(comparable(memory.ask(question), false));
        }
      }),
      { numRuns: isSoak ? 200 : 40 },
    );
  });

  it("does not block the owner of a revoked token for refusals of that token, on a Cluster either", async () => {
    const prefix = freshPrefix();
    await client.set(`${prefix}revoked`, "revoked", "EX", 600);
    const token = { revokedKey: `${prefix}revoked`, cutoffKeys: [], issuedAt: undefined };
    const block = { after: 1, firstMs: 10_000, maxMs: 10_000 };
    const limit = {
      ...{ key: `${prefix}{a}`, blockKey: `${prefix}{a}:block`, limit: 1, cost: 1, windowSeconds: 60 },
      mode: { algorithm: "fixed-window", shadow: false, block },
    } as const;
    const ask = async (each: TokenQuestion | undefined) =>
      (await decideAcrossSlots(client, [{ beforeToken: [], token: each, afterToken: [limit] }], terms)).answers[0];
    const terms = {
      partMs: 5000,
      quotas: { adjust: () => undefined, renew: () => undefined, expire: () => undefined },
      revokedKeys: new LRUCache<string, true>({ max: 9 }),
    };
    expect((await ask(undefined))?.afterToken).to.have.nested.property("[0].consumed", 1);
    for (let attempt = 0; attempt < 3; attempt += 1) expect((await ask(token))?.revoked).to.equal(true);
    expect(await client.exists(limit.blockKey)).to.equal(0);
    expect((await ask(undefined))?.afterToken).to.have.nested.property("[0].blocked", true);
    expect(await client.exists(limit.blockKey)).to.equal(1);
  });

  it("gives back what it counted after a token that is unknown and refused therefore, on a Cluster either", async () => {
    const prefix = freshPrefix();
    const token = { revokedKey: `${prefix}revoked`, cutoffKeys: [`${prefix}cutoff`], issuedAt: undefined };
    const limit = { key: `${prefix}{a}`, limit: 9, cost: 1, windowSeconds: 60 };
    const refunds: { by: number }[] = [];
    const terms = {
      partMs: 5000,
      quotas: {
        adjust: (all: readonly { by: number }[]) => void refunds.push(...all),
        renew: () => undefined,
        expire: () => undefined,
      },
      revokedKeys: new LRUCache<string, true>({ max: 9 }),
    };
    const ask = async (refusesUnknown: boolean) => {
      const question = { beforeToken: [], token, afterToken: [limit], refusesUnknown };
      return (await decideAcrossSlots(client, [question], terms)).answers[0];
    };
    await client.set(`${prefix}cutoff`, "nan", "EX", 600);
    expect((await ask(false))?.afterToken).to.have.nested.property("[0].consumed", 1);
    expect(refunds).to.deep.equal([]);
    const refused = await ask(true);
    expect([refused?.revoked instanceof StoreFault, refused?.afterToken]).to.deep.equal([true, [undefined]]);
    expect(refunds.map(({ by }) => by)).to.deep.equal([-1]);
  });

  it("is no outage of the whole Cluster where only the node of the revocation records hangs", async () => {
    const prefix = freshPrefix();
    const hanging: RedisLike = {
      status: "ready",
      call: (command, ...args) => (command === "EXISTS" ? new Promise(() => undefined) : client.call(command, ...args)),
      on: () => undefined,
      off: () => undefined,
    };
    const refunds: unknown[] = [];
    const terms = {
      partMs: 500,
      quotas: { adjust: (all: unknown) => void refunds.push(all), renew: () => undefined, expire: () => undefined },
      revokedKeys: new LRUCache<string, true>({ max: 9 }),
    };
    const question = {
      beforeToken: [],
      token: { revokedKey: `${prefix}revoked`, cutoffKeys: [], issuedAt: undefined },
      afterToken: [{ key: `${prefix}{a}`, limit: 9, cost: 1, windowSeconds: 60 }],
      refusesUnknown: true,
    };
    const { answers } = await decideAcrossSlots(hanging, [question], terms);
    expect(answers[0]?.revoked).to.be.instanceOf(StoreFault).and.to.include({ kind: "timeout" });
    expect(answers[0]?.afterToken).to.deep.equal([undefined]);
    expect(refunds).to.have.length(1);
  });

  it("counts nothing for a token known to be revoked, not even for a moment, on a Cluster either", async () => {
    const prefix = freshPrefix();
    const token = { revokedKey: `${prefix}revoked`, cutoffKeys: [], issuedAt: undefined };
    const limit = { key: `${prefix}{a}`, limit: 9, cost: 1, windowSeconds: 60 };
    const refunds: unknown[] = [];
    const terms = {
      partMs: 5000,
      quotas: { adjust: (all: unknown) => void refunds.push(all), renew: () => undefined, expire: () => undefined },
      revokedKeys: new LRUCache<string, true>({ max: 9 }),
    };
    const ask = async () =>
      (await decideAcrossSlots(client, [{ beforeToken: [], token, afterToken: [limit] }], terms)).answers[0];
    await client.set(token.revokedKey, "revoked", "EX", 600);
    expect((await ask())?.revoked).to.equal(true);
    expect(refunds).to.have.length(1);
    expect((await ask())?.revoked).to.equal(true);
    expect(await client.get(limit.key)).to.equal("1");
    expect(refunds).to.have.length(1);
    // A record that is gone frees the token, which is counted from then on.
    await client.del(token.revokedKey);
    expect(await ask())
      .to.deep.include({ revoked: false, replayed: undefined })
      .and.have.nested.property("afterToken[0].consumed", 2);
  });
});
