import { inspect } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import { signToken, testAuth } from "@portcullis/testkit";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { Answer, Consumption, Question } from "../../../packages/core/src/store/ports/decisions.js";
import { faultForAll } from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { RedisCacheStore } from "../../../packages/core/src/store/redis/cache.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import { RedisLeaseSource } from "../../../packages/core/src/store/redis/leases.js";
import { RedisLoginStore } from "../../../packages/core/src/store/redis/logins.js";
import { RedisLimitOverrides } from "../../../packages/core/src/store/redis/limit-overrides.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { RedisSessionStore } from "../../../packages/core/src/store/redis/sessions.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { openGate, present } from "../../support/fake-gate.js";

/** A client whose replies the test makes. */
function clientThat(reply: (command: string, args: readonly (string | number)[]) => unknown): RedisLike {
  return {
    status: "ready",
    call: (command, ...args) => Promise.resolve(reply(command, args)),
    on: () => undefined,
    off: () => undefined,
  };
}

function open(
  reply: (command: string) => unknown,
  isCluster = false,
): Connection & { said: unknown[]; told: Telemetry } {
  const said: unknown[] = [];
  const told = new Telemetry();
  const logger = { debug: () => undefined, warn: (...words: unknown[]) => void said.push(words) };
  const client = clientThat(reply);
  const connection = connect({ redis: client, deadlineMs: 5000, logger, scripts: [], telemetry: told });
  return { ...connection, isCluster, said, told };
}

const charge = (name: string, more: Partial<Consumption> = {}): Consumption => ({
  key: `{1}:${name}`,
  limit: 10,
  windowSeconds: 60,
  cost: 1,
  ...more,
});
const ruled: Partial<Consumption> = {
  mode: { algorithm: "sliding-window", shadow: false, block: { after: 1, firstMs: 1, maxMs: 1 } },
  blockKey: "{1}:block",
};
const question: Question = {
  beforeToken: [charge("ip")],
  token: { revokedKey: "auth:revoked:a", cutoffKeys: ["auth:cutoff:a"], issuedAt: 1 },
  replayCheck: { key: "use", ttlMs: 1000 },
  afterToken: [charge("user", ruled)],
};
/** What the script says of a request that is admitted. */
const admitted = (): number[] => [Date.now(), 0, 0, 1, 60_000, 1, 60_000, 5];

/** Nothing of this is an integer, OK, null or a list. */
const noise = fc.oneof(
  fc.constantFrom<unknown>(Number.NaN, Infinity, -Infinity, -3, 1.5, 2 ** 53, 1e300, true, false, undefined, {}),
  fc.constantFrom<unknown>("", "nan", "inf", "0x1", "1e3", "99999999999999999999", "-5", "1.5", " 1", "yes", "QUEUED"),
  fc.constantFrom<unknown>([], [0], ["0"], [["no"]], new Map([["a", 1]]), new Set([0]), Symbol("s"), new Date(0)),
  fc.string().filter((text) => !/^-?\d+$/.test(text) && text !== "OK"),
);

/** Every number within a value. */
function numbersIn(value: unknown): number[] {
  if (typeof value === "number") return [value];
  if (typeof value !== "object" || value === null || value instanceof StoreFault) return [];
  return Object.values(value).flatMap(numbersIn);
}

function expectSound(value: unknown): void {
  for (const number of numbersIn(value)) expect(Number.isSafeInteger(number), String(number)).to.equal(true);
}

async function outcomeOf(call: () => unknown): Promise<unknown> {
  try {
    return await call();
  } catch (error) {
    return error;
  }
}

describe("a reply that says nothing we know", () => {
  for (const isCluster of [false, true]) {
    it(`is a fault of everything that was asked (${isCluster ? "Cluster" : "one server"})`, async () => {
      await fc.assert(
        fc.asyncProperty(noise, async (reply) => {
          const connection = open(() => reply, isCluster);
          const store = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 5000 });
          const answer = await store.ask(question);
          const parts = answer instanceof StoreFault ? faultForAll(question, answer) : answer;
          for (const part of [...parts.beforeToken, parts.revoked, parts.replayed, ...parts.afterToken])
            expect(part === undefined || part instanceof StoreFault, inspect(part)).to.equal(true);
          expect(parts.revoked).to.be.instanceOf(StoreFault);
          store.close();
        }),
        { numRuns: 150 },
      );
    });
  }

  it("lets nobody pass through a gate, and puts no number into a field that is none", async () => {
    const token = await signToken();
    await fc.assert(
      fc.asyncProperty(noise, async (reply) => {
        const gate = openGate({
          redis: clientThat(() => reply),
          auth: testAuth,
          deadline: 5000,
          limits: [{ name: "ip", per: "ip", limit: 5, window: "1m" }],
        });
        const { verdict } = await present(gate, token);
        expect(verdict).to.include({ allowed: false, status: 503 });
        expect(JSON.stringify(verdict.headers)).to.not.match(/NaN|Infinity|undefined/);
        await gate.close();
      }),
      { numRuns: 40 },
    );
  });

  it("is a fault in every other store", async () => {
    const keys = new Keyspace("", "test");
    const subject = keys.sessionsOf("alice");
    const group = keys.groupOf("acme");
    const record = {
      ...{ createdAt: 1, seenAt: 1, endsAt: 1, idleEndsAt: 1, issuedAt: 1, generation: 0, current: "c", grant: "{}" },
      access: [{ jti: "j", expiresAt: 1 }],
    };
    const attempt = { key: "{1}:k", limit: 1, windowMs: 1 };
    const attempts = {
      address: attempt,
      accountAndIp: { ...attempt, spelling: "s" },
      account: undefined,
      resetKey: "{1}:p",
    };
    await fc.assert(
      fc.asyncProperty(noise, fc.boolean(), async (reply, isCluster) => {
        const connection = open(() => reply, isCluster);
        const tracking = new Tracking({ connection, logger: silentLogger });
        const channels = new RedisChannels({ connection, tracking, keys, deadlineMs: 5000, logger: silentLogger });
        const security = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 5000 });
        const sessions = new RedisSessionStore({
          ...{ connection, keys, deadlineMs: 5000, marginSeconds: 300, longestSeconds: 1000 },
        });
        const logins = new RedisLoginStore({ connection, deadlineMs: 5000 });
        const rules = new RedisLimitOverrides({ connection, deadlineMs: 5000, rulesKey: keys.limitOverrides() });
        const cache = new RedisCacheStore({ connection, channels, deadlineMs: 5000 });
        const leases = new RedisLeaseSource(connection, security.giveBacks, () => true);
        const calls: readonly (() => unknown)[] = [
          () => security.revoke("k", 1),
          () => security.cutOff("k", 1),
          () => sessions.readClock(["a"]),
          () =>
            sessions.create(subject, {
              ...{ id: "i", record, cutoff: undefined, maxSessions: 1, onLimit: "refuse", notAfter: 1 },
            }),
          () =>
            sessions.rotate(subject, {
              ...{ id: "i", presented: "p", generation: 0, successor: "s", access: "a", issuedAt: 1, accessSeconds: 1 },
              ...{ idleMs: 1, repeatMs: 1, renewedAccess: "n", maxAccess: 1, notAfter: 1, changes: {} },
            }),
          () => sessions.list(subject, 0, 1),
          () => sessions.ids(subject),
          () => sessions.end(subject, { kind: "only", id: "i" }),
          () => sessions.endGroup(group),
          () => logins.count(attempts),
          () => rules.setOverride("a", { limit: 1, windowSeconds: undefined }, undefined),
          () => rules.readBlock("k"),
          () => rules.readTopKeys(keys.topKeys("a"), 1),
          () => cache.getMany(["{1}:k"]),
          () => cache.ensureGenerations(["{1}:k"], 1000),
          () => cache.keep([], [{ key: "{1}:k", named: "g", isNew: true }], 1),
          () => cache.lease("portcullis:2:cache:s::{1}:k", "o", 1000),
          () => cache.extend("portcullis:2:cache:s::{1}:k", "o", 1000),
          () => cache.endLease("portcullis:2:cache:s::{1}:k", "o", { outcome: "filled", value: "v", ttlMs: 1 }),
          async () =>
            (
              await leases.exchange([{ key: "{1}:k", limit: 5, windowMs: 1000, take: 1, giveBack: 0, windowEnd: 0 }])
            ).find(Boolean),
        ];
        for (const [index, call] of calls.entries()) {
          const outcome = await outcomeOf(call);
          // A list, a set or a map may well be empty, or name what it likes.
          const isEmpty = Array.isArray(outcome) && typeof reply === "object";
          if (!isEmpty) expect(outcome, `${index} ${String(reply)}`).to.be.instanceOf(StoreFault);
          expectSound(outcome);
        }
        cache.close();
        security.close();
        tracking.close();
      }),
      { numRuns: 100 },
    );
  });
});

describe("an answer of which one part cannot be read", () => {
  it("is a fault of that part alone, and no part is let pass that was not judged", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: admitted().length - 1 }),
        fc.oneof(noise, fc.constant(-1)),
        async (at, odd) => {
          const connection = open(() => admitted().map((part, index) => (index === at ? odd : part)));
          const store = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 60_000 });
          const answer = (await store.ask(question)) as Answer;
          const parts: unknown[] = [answer.revoked, answer.replayed, answer.beforeToken[0], answer.afterToken[0]];
          const faulty = [-1, 0, 1, 2, 2, 3, 3, 3][at] ?? -1;
          // -1 says of a receipt that nothing was counted, and is no number of anything else here.
          if (!(at === 7 && odd === -1)) expect(parts[faulty], `${at} ${String(odd)}`).to.be.instanceOf(StoreFault);
          expect(parts.filter((part) => part instanceof StoreFault)).to.have.length.at.most(2);
          expect(parts.includes(undefined)).to.equal(false);
          expectSound(answer);
          store.close();
        },
      ),
      { numRuns: 300 },
    );
  });

  it("is a fault of all parts where there are more or fewer of them, or no time", async () => {
    for (const reply of [
      admitted().slice(0, -1),
      [...admitted(), 0],
      ["nan", ...admitted().slice(1)],
      admitted().slice(1),
    ]) {
      const store = new RedisDecisionStore({
        ...{ connection: open(() => reply), deadlineMs: 5000, clockToleranceMs: 5000 },
      });
      expect(await store.ask(question))
        .to.be.instanceOf(StoreFault)
        .and.to.include({ kind: "unreadable" });
      store.close();
    }
  });

  it("is read as it is where the same numbers are text or bytes", async () => {
    const read = async (reply: unknown): Promise<unknown> => {
      const store = new RedisDecisionStore({
        ...{ connection: open(() => reply), deadlineMs: 5000, clockToleranceMs: 60_000 },
      });
      return store.ask(question);
    };
    const expected = await read(admitted());
    expect(expected).to.deep.include({ revoked: false, replayed: false });
    expect(await read(admitted().map(String))).to.deep.equal(expected);
    expect(await read(admitted().map((part) => Buffer.from(String(part))))).to.deep.equal(expected);
  });

  it("grants no more points than were asked for", async () => {
    for (const granted of [2, "2", -1, "many"]) {
      const connection = open(() => [granted, 5, 1000, 1000]);
      const store = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 5000 });
      cleanUpInTest(() => store.close());
      const leases = new RedisLeaseSource(connection, store.giveBacks, () => true);
      const [grant] = await leases.exchange([
        { key: "k", limit: 50, windowMs: 60_000, take: 1, giveBack: 0, windowEnd: 0 },
      ]);
      expect(grant, String(granted)).to.be.instanceOf(StoreFault);
    }
  });
});

describe("an unreadable value or reply", () => {
  it("is counted every time, and said once for each part with its reason", async () => {
    const poisoned = admitted().map((part, index) => (index === 1 ? "WRONGTYPE not a cut-off" : part));
    const connection = open(() => poisoned);
    const store = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 60_000 });
    cleanUpInTest(() => store.close());
    for (let round = 0; round < 3; round += 1) {
      const { revoked } = (await store.ask(question)) as Answer;
      expect(revoked).to.be.instanceOf(StoreFault).and.to.include({ kind: "unreadable", reply: "WRONGTYPE" });
    }
    // Nor can the time be read, which is asked for at the beginning.
    expect(connection.said).to.deep.equal([
      [
        { part: "clock", reason: "REPLY" },
        "portcullis: a reply of the Redis client cannot be read; look at its options and reply transformers",
      ],
      [{ part: "revocation", reason: "WRONGTYPE" }, "portcullis: a value in Redis is not what belongs under its key"],
    ]);
    const metric = connection.told.read().find(({ name }) => name === "portcullis_unreadable_total");
    expect(metric?.samples).to.deep.include({ suffix: "", labels: { part: "revocation", reason: "value" }, value: 3 });
    expect(store.state().status, "the server is well").to.equal("up");
  });

  it("names the client where a reply is of a form that nobody asked for", async () => {
    const connection = open(() => new Map());
    const store = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 60_000 });
    cleanUpInTest(() => store.close());
    await outcomeOf(() => store.ask(question));
    await outcomeOf(() => store.revoke("k", 1));
    // The clock, the batch and the record.
    expect(connection.said).to.have.length(3);
    expect(JSON.stringify(connection.said)).to.match(/reply of the Redis client cannot be read/);
  });
});
