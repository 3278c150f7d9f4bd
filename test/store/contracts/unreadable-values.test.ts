import { expect } from "chai";
import { Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { Answer, Consumption, CountingMode } from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import { RedisLeaseSource } from "../../../packages/core/src/store/redis/leases.js";
import { RedisLoginStore } from "../../../packages/core/src/store/redis/logins.js";
import { RedisLimitOverrides } from "../../../packages/core/src/store/redis/limit-overrides.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { RedisSessionStore } from "../../../packages/core/src/store/redis/sessions.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

/** What a lenient parser takes for a number, and what none does. */
const numbers = ["", " ", "abc", "nan", "inf", "-inf", "-5", "1.5", "1e3", "0x10", "99999999999999999999", "1 2"];
const rule = (algorithm: CountingMode["algorithm"]): CountingMode => ({
  algorithm,
  shadow: false,
  block: { after: 1, firstMs: 1000, maxMs: 1000 },
});
const plain: CountingMode = { algorithm: "sliding-window", shadow: false, block: undefined };

async function faultOf(call: () => Promise<unknown>): Promise<unknown> {
  const outcome = await rejectionOf(call());
  return outcome instanceof StoreFault ? outcome.kind : outcome;
}

describe("a value in Redis of the wrong type or form is a fault, never a number", () => {
  let redis: Redis;
  let connection: Connection;
  let keys: Keyspace;
  const common = { deadlineMs: 2000 };

  before(() => {
    redis = new Redis(testRedisUrl());
    connection = connect({ redis, ...common, logger: silentLogger, scripts });
  });
  beforeEach(() => {
    keys = new Keyspace(freshPrefix(), "test");
  });
  after(() => redis.disconnect());

  it("in counters, windows, buckets and blocks", async () => {
    const store = new RedisDecisionStore({ connection, ...common, clockToleranceMs: 5000 });
    const charge = (more: Partial<Consumption>): Consumption => ({
      ...{ key: keys.quota("p", "a"), limit: 10, windowSeconds: 60, cost: 1 },
      ...more,
    });
    const blockKey = keys.quotaBlock("p", "a");
    const cases: readonly (readonly [Consumption, string, readonly string[]])[] = [
      [charge({}), keys.quota("p", "a"), numbers],
      [
        charge({ mode: plain }),
        keys.quota("p", "a"),
        [...numbers, ":", "::,", "1:2,", ",1:2", "1:nan", "1:2:3", "1:99999999999999999999"],
      ],
      [
        charge({ mode: { ...plain, algorithm: "token-bucket" } }),
        keys.quota("p", "a"),
        [...numbers, "nan:1", "1:99999999999999999999"],
      ],
      [
        charge({ mode: rule("fixed-window"), blockKey }),
        blockKey,
        [...numbers, "0:0:0", "99999999999999999999:0:0:0", "nan:0:0:0"],
      ],
    ];
    for (const [one, key, values] of cases) {
      for (const value of values) {
        await redis.set(key, value, "PX", 60_000);
        const { afterToken } = (await store.ask({ beforeToken: [], token: undefined, afterToken: [one] })) as Answer;
        expect(afterToken[0], `${one.mode?.algorithm ?? "plain"} ${value}`).to.be.instanceOf(StoreFault);
        expect(await redis.get(key), "it is left as it is").to.equal(value);
      }
      await redis.del(key);
    }
    store.close();
  });

  it("in leases and in the ends of blocks", async () => {
    const security = new RedisDecisionStore({ connection, ...common, clockToleranceMs: 5000 });
    const leases = new RedisLeaseSource(connection, security.giveBacks, () => true);
    const records = new RedisLimitOverrides({ connection, ...common, rulesKey: keys.limitOverrides() });
    for (const value of numbers) {
      const key = keys.quota("p", "a");
      await redis.set(key, value, "PX", 60_000);
      const [grant] = await leases.exchange([
        { key, limit: 100, windowMs: 60_000, take: 5, giveBack: 0, windowEnd: 0 },
      ]);
      expect(grant, value).to.be.instanceOf(StoreFault);
      await redis.set(keys.quotaBlock("p", "a"), value, "PX", 60_000);
      expect(await faultOf(() => records.readBlock(keys.quotaBlock("p", "a"))), value).to.equal("unreadable");
    }
    security.close();
  });

  it("in attempts to sign in", async () => {
    const store = new RedisLoginStore({ connection, ...common });
    const attempt = (name: string) => ({
      key: keys.login("web", "pair", name),
      limit: 5,
      windowMs: 60_000,
      spelling: "s",
    });
    const resetKey = keys.login("web", "pardon", "a");
    const accountAndIp = attempt("a");
    const address = { key: keys.login("web", "ip", "x"), limit: 1000, windowMs: 60_000 };
    const question = { address, accountAndIp, account: undefined, resetKey };
    for (const value of numbers) {
      for (const field of ["n", "s", "u"]) {
        await redis.hset(accountAndIp.key, { n: 1, s: 1, u: 1, [field]: value });
        expect(await store.count(question), `${field} ${value}`).to.be.instanceOf(StoreFault);
        await redis.del(accountAndIp.key);
      }
      await redis.set(resetKey, value, "PX", 60_000);
      expect(await store.count(question), `pardon ${value}`).to.be.instanceOf(StoreFault);
      await redis.del(resetKey);
    }
  });

  it("in session records, in the time of the last ending, and in the cut-offs of a sign-in", async () => {
    const store = new RedisSessionStore({ connection, ...common, marginSeconds: 300, longestSeconds: 1000 });
    const subject = keys.sessionsOf("alice");
    const record = {
      ...{
        createdAt: 1,
        seenAt: 1,
        endsAt: 2e12,
        idleEndsAt: 2e12,
        issuedAt: 1,
        generation: 0,
        current: "c",
        grant: "{}",
      },
      access: [{ jti: "j", expiresAt: 1 }],
    };
    const bad = [
      ...["", "x", "5", "null", "[]", "{}", '"x"', JSON.stringify(record).replace("2000000000000", "NaN")],
      ...[
        { idleEndsAt: "2000000000000" },
        { endsAt: null },
        { access: 5 },
        { access: [1] },
        { access: [{ jti: 1 }] },
      ].map((change) => JSON.stringify({ ...record, ...change })),
      ...[{ issuedAt: -1 }, { generation: "nan" }, { current: 5 }].map((change) =>
        JSON.stringify({ ...record, ...change }),
      ),
    ];
    const rotation = {
      ...{ id: "i", presented: "c", generation: 0, successor: "s", access: "a", issuedAt: 1, accessSeconds: 1 },
      ...{ idleMs: 1000, repeatMs: 1, renewedAccess: "n", maxAccess: 1, notAfter: 4e12, changes: {} },
    };
    for (const text of bad) {
      await redis.hset(subject.records, "i", text);
      await redis.zadd(subject.index, 2e12, "i");
      for (const call of [
        () => store.list(subject, 0, 10),
        () => store.rotate(subject, rotation),
        () => store.end(subject, { kind: "only", id: "i" }),
      ])
        expect(await faultOf(call), text).to.equal("unreadable");
    }
    await redis.del(subject.records, subject.index);
    const creation = {
      id: "i",
      record,
      cutoff: undefined,
      maxSessions: undefined,
      onLimit: "refuse",
      notAfter: 4e12,
    } as const;
    for (const value of numbers) {
      await redis.set(subject.ended, value, "PX", 60_000);
      expect(await faultOf(() => store.create(subject, creation)), `ended ${value}`).to.equal("unreadable");
      const cutoff = keys.subjectCutoff("alice");
      await redis.set(cutoff, value, "PX", 60_000);
      expect(await faultOf(() => store.readClock([cutoff])), `cut-off ${value}`).to.equal("unreadable");
    }
  });
});
