import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster } from "ioredis";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { MemorySessionStore } from "../../../packages/core/src/store/memory/sessions.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import type {
  Creation,
  SessionRecord,
  SessionStore,
  SubjectKeys,
} from "../../../packages/core/src/store/ports/sessions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { RedisSessionStore } from "../../../packages/core/src/store/redis/sessions.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import type { OpenSessionStore } from "./session-store.js";
import { describeSessionStore } from "./session-store.js";

const margins = { marginSeconds: 300, longestSeconds: 2_592_000 };

function onRedis(connection: Connection): OpenSessionStore {
  return {
    store: new RedisSessionStore({ connection, deadlineMs: 1000, ...margins }),
    revocationStore: new RedisDecisionStore({ connection, deadlineMs: 1000, clockToleranceMs: 5000 }),
  };
}

/** What other services have added to a set of tokens ends with the sessions, whatever our own clock says. */
async function endsForeignTokens(connection: Connection, open: (keys: Keyspace) => OpenSessionStore): Promise<void> {
  const { client } = connection;
  await until(() => connection.isUp());
  const keys = new Keyspace(freshPrefix(), "test");
  const { store } = open(keys);
  const [subject, group] = [keys.sessionsOf("alice"), keys.groupOf("acme")];
  await client.call("SADD", subject.shared, "foreign-1");
  await client.call("SADD", group.shared, "foreign-2");
  const right = Date.now;
  Date.now = () => right() - 400 * 86_400_000;
  try {
    await store.end(subject, { kind: "all", endedAt: Math.floor(right() / 1000) });
    await store.endGroup(group);
  } finally {
    Date.now = right;
  }
  for (const jti of ["foreign-1", "foreign-2"])
    expect(await client.call("EXISTS", keys.revokedToken(jti)), jti).to.equal(1);
}

function recordOf(name: string, more: Partial<SessionRecord> = {}): SessionRecord {
  const seconds = Math.floor(Date.now() / 1000);
  return {
    ...{ createdAt: 1, seenAt: 1, endsAt: 4e12, idleEndsAt: 4e12, issuedAt: seconds, generation: 0, grant: "{}" },
    ...{ current: `refresh-${name}`, access: [{ jti: `access-${name}`, expiresAt: seconds + 900 }] },
    ...more,
  };
}

function create(store: SessionStore, subject: SubjectKeys, id: string, more: Partial<Creation> = {}) {
  const creation = { cutoff: undefined, maxSessions: undefined, onLimit: "evictOldest", notAfter: 4e12 } as const;
  return store.create(subject, { id, record: recordOf(id), ...creation, ...more });
}

async function expectUnreadable(call: Promise<unknown>, hint: string): Promise<void> {
  const error = await rejectionOf(call);
  expect(error, hint).to.be.instanceOf(StoreFault).and.include({ kind: "unreadable" });
}

/** What is under one key of a subject or an organisation is not what belongs there: the tokens are ended all the same. */
async function endsDespitePoison(connection: Connection, poisons: readonly Poison[]): Promise<void> {
  const { client } = connection;
  await until(() => connection.isUp());
  for (const poison of poisons) {
    const keys = new Keyspace(freshPrefix(), "test");
    const { store } = onRedis(connection);
    const [subject, group] = [keys.sessionsOf("alice"), keys.groupOf("acme")];
    for (const id of ["s1", "s2", "s3"]) await create(store, subject, id);
    await client.call("SADD", subject.shared, "foreign-1", "foreign-2");
    await client.call("SADD", group.shared, "foreign-3", "foreign-4");
    if (poison === "record") {
      await client.call("HSET", subject.records, "s2", "poison");
    } else {
      const key = poison === "members" ? group.members : poison === "group tokens" ? group.tokens : subject[poison];
      await client.call("SET", key, "poison", "PX", 60_000);
    }
    const isGroups = poison === "members" || poison === "group tokens";
    const ending = isGroups ? store.endGroup(group) : store.end(subject, { kind: "all", endedAt: 1 });
    await expectUnreadable(ending, poison);
    const dead = isGroups ? ["foreign-3", "foreign-4"] : ["access-s1", "access-s3", "foreign-1", "foreign-2"];
    for (const jti of dead)
      expect(await client.call("EXISTS", keys.revokedToken(jti)), `${jti} with a poisoned ${poison}`).to.equal(1);
  }
}

type Poison = "tokens" | "index" | "record" | "members" | "group tokens";

describe("session stores", () => {
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  describeSessionStore("the in-process store", () => {
    const revocationStore = new MemoryDecisionStore();
    const store = new MemorySessionStore({
      revocationStore,
      cutoffAt: (key) => revocationStore.cutoffAt(key),
      marginSeconds: 300,
    });
    return { store, revocationStore };
  });

  it("keep a session in process whose tokens cannot be revoked since there is no room, so that its end can be repeated", async () => {
    const revocationStore = new MemoryDecisionStore({ records: 1 });
    const store = new MemorySessionStore({ revocationStore, cutoffAt: () => undefined, marginSeconds: 300 });
    const keys = new Keyspace("", "test");
    const subject = keys.sessionsOf("alice");
    await create(store, subject, "s1");
    await revocationStore.revoke("other", Math.floor(Date.now() / 1000) + 3600);
    const rotation = {
      ...{ id: "s1", presented: "used", generation: 0, successor: "next", access: "a", issuedAt: 1 },
      ...{ accessSeconds: 1, idleMs: 1000, repeatMs: 1, renewedAccess: "n", maxAccess: 1, notAfter: 4e12, changes: {} },
    };
    const ends: Readonly<Record<string, () => Promise<unknown>>> = {
      "the use of a token that was used before": () => store.rotate(subject, rotation),
      "the end of all": () => store.end(subject, { kind: "all", endedAt: 1 }),
      "a sign-in that makes room": () => create(store, subject, "s2", { maxSessions: 1 }),
    };
    for (const [end, call] of Object.entries(ends)) {
      const error = await rejectionOf(call());
      expect(error, end).to.be.instanceOf(StoreFault).and.include({ kind: "overloaded" });
      expect(await store.ids(subject), end).to.deep.equal(["s1"]);
    }
  });

  it("keep a record in process for a token that lives again when a wrong clock is set back", async () => {
    const right = Date.now;
    let jump = 0;
    Date.now = () => right() + jump;
    try {
      const revocationStore = new MemoryDecisionStore({ records: 1 });
      const expiresAt = Math.floor(right() / 1000) + 3600;
      await revocationStore.revoke("stolen", expiresAt);
      jump = 7_200_000;
      const error = await rejectionOf(revocationStore.revoke("other", expiresAt + 7200));
      expect(error).to.be.instanceOf(StoreFault).and.include({ kind: "overloaded" });
      jump = 0;
      const token = { revokedKey: "stolen", cutoffKeys: [], issuedAt: 1 };
      expect(revocationStore.ask({ beforeToken: [], token, afterToken: [] }).revoked).to.equal(true);
    } finally {
      Date.now = right;
    }
  });

  it("count the overlap of two refresh tokens in process by a clock that nobody sets", async () => {
    const keys = new Keyspace("", "test");
    const subject = keys.sessionsOf("alice");
    const right = Date.now;
    const repeatAfter = async (jumpMs: number, repeatMs: number, waitMs: number): Promise<string> => {
      let jump = 0;
      Date.now = () => right() + jump;
      const store = new MemorySessionStore({
        ...{ revocationStore: new MemoryDecisionStore(), cutoffAt: () => undefined, marginSeconds: 300 },
      });
      const rotation = {
        ...{ id: "s", presented: "refresh-s", generation: 0, successor: "next", access: "a", accessSeconds: 60 },
        ...{ issuedAt: 1, idleMs: 86_400_000, repeatMs, renewedAccess: "n", maxAccess: 1, notAfter: 4e12, changes: {} },
      };
      await create(store, subject, "s");
      await store.rotate(subject, rotation);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      jump = jumpMs;
      try {
        return (await store.rotate(subject, rotation)).outcome;
      } finally {
        Date.now = right;
      }
    };
    // Neither is a stolen token good for longer, nor an honest client taken for a thief.
    expect(await repeatAfter(-3_600_000, 20, 50)).to.equal("reused");
    expect(await repeatAfter(3_600_000, 60_000, 0)).to.equal("repeated");
  });

  describe("on one server", () => {
    let connection: Connection;
    before(() => {
      const redis = parseRedisUrl("redis", testRedisUrl());
      connection = connect({ redis, deadlineMs: 1000, logger: silentLogger, scripts });
      cleanUp.push(() => connection.close());
    });
    describeSessionStore("the Redis store", () => onRedis(connection));

    it("revokes the tokens of other services though the clock of this process is far behind", () =>
      endsForeignTokens(connection, () => onRedis(connection)));

    it("revokes every token that it can find where one key of a subject or an organisation is poisoned", () =>
      endsDespitePoison(connection, ["tokens", "index", "record", "members", "group tokens"]));

    it("heals the time of the last ending where another value is under its key", async () => {
      const { client } = connection;
      const keys = new Keyspace(freshPrefix(), "test");
      const { store } = onRedis(connection);
      const subject = keys.sessionsOf("alice");
      for (const command of ["SET", "RPUSH"]) {
        await create(store, subject, "s1");
        await client.call("DEL", subject.ended);
        await client.call(command, subject.ended, "poison");
        expect(await store.end(subject, { kind: "all", endedAt: 1000 })).to.deep.equal(["s1"]);
        expect(await client.call("GET", subject.ended)).to.equal("1000");
      }
    });

    for (const rounds of [1, 10]) {
      const often = rounds === 1 ? "once" : "again and again";
      it(`ends a session with every token though it is refreshed ${often} while its keys are asked for`, async () => {
        const keys = new Keyspace(freshPrefix(), "test");
        const subject = keys.sessionsOf("alice");
        const { store } = onRedis(connection);
        const { client } = connection;
        const orgTokens = keys.groupOf("acme").shared;
        const record = { ...recordOf("s1"), current: "r0", orgTokens };
        await create(store, subject, "s1", { record });
        await create(store, subject, "s2");
        for (const set of [subject.shared, orgTokens]) await client.call("SADD", set, "access-s1");
        const jtis = ["access-s1"];
        const refresh = async (): Promise<void> => {
          const generation = jtis.length - 1;
          jtis.push(`access-${generation}`);
          await store.rotate(subject, {
            ...{ id: "s1", presented: `r${generation}`, generation, successor: `r${generation + 1}` },
            ...{ access: `access-${generation}`, issuedAt: Math.floor(Date.now() / 1000), accessSeconds: 900 },
            ...{ idleMs: 1e6, repeatMs: 1000, renewedAccess: "n", maxAccess: 16, notAfter: 4e12, changes: {} },
          });
          await client.call("SADD", subject.shared, `access-${generation}`);
        };
        let isRefreshing = false;
        const slow = new Proxy(client, {
          get(target, name) {
            const member: unknown = Reflect.get(target, name, target);
            if (name !== "call" || typeof member !== "function") return member;
            return async (...args: unknown[]): Promise<unknown> => {
              const reply: unknown = await Reflect.apply(member, target, args);
              if (!isRefreshing && jtis.length <= rounds && Array.isArray(reply) && reply[0] === "keys") {
                isRefreshing = true;
                await refresh();
                isRefreshing = false;
              }
              return reply;
            };
          },
        });
        const slowly = onRedis({ ...connection, client: slow, isUp: () => connection.isUp() });
        const generation = 0;
        const reuse = { id: "s1", presented: "used before", generation, successor: "x", access: "y", issuedAt: 1 };
        const more = {
          accessSeconds: 900,
          idleMs: 1e6,
          repeatMs: 0,
          renewedAccess: "n",
          maxAccess: 16,
          notAfter: 4e12,
          changes: {},
        };
        expect(await slowly.store.rotate(subject, { ...reuse, ...more })).to.include({ outcome: "reused" });
        expect(jtis.length).to.be.greaterThan(1);
        for (const jti of jtis) expect(await client.call("EXISTS", keys.revokedToken(jti)), jti).to.equal(1);
        expect(await client.call("EXISTS", keys.revokedToken("access-s2"))).to.equal(0);
        expect(await client.call("EXISTS", subject.shared, orgTokens)).to.equal(0);
        expect(await store.ids(subject)).to.deep.equal(["s2"]);
      });
    }

    it("changes nothing where it cannot do all of a sign-in, a refresh or a note", async () => {
      const { client } = connection;
      const keys = new Keyspace(freshPrefix(), "test");
      const { store } = onRedis(connection);
      const subject = keys.sessionsOf("alice");
      for (const id of ["s1", "s2"]) await create(store, subject, id);
      await client.call("HSET", subject.records, "s2", "poison");
      await expectUnreadable(create(store, subject, "s3", { maxSessions: 1 }), "a record");
      expect(await client.call("EXISTS", keys.revokedToken("access-s1"))).to.equal(0);
      expect(await client.call("HLEN", subject.records)).to.equal(2);

      await client.call("SET", subject.index, "poison", "PX", 60_000);
      const before = await client.call("HGET", subject.records, "s1");
      const rotation = {
        ...{ id: "s1", presented: "refresh-s1", generation: 0, successor: "next", access: "a", issuedAt: 1 },
        ...{
          accessSeconds: 1,
          idleMs: 1000,
          repeatMs: 1,
          renewedAccess: "n",
          maxAccess: 1,
          notAfter: 4e12,
          changes: {},
        },
      };
      await expectUnreadable(store.rotate(subject, rotation), "the index");
      expect(await client.call("HGET", subject.records, "s1")).to.equal(before);

      const group = keys.groupOf("acme");
      await client.call("SET", group.tokens, "poison", "PX", 60_000);
      const token = { jti: "j", expiresAt: Math.floor(Date.now() / 1000) + 60 };
      const member = { id: "s1", principal: "alice" };
      const noting = store.trackGroup(group, { add: [token], drop: [] }, member, Date.now() + 60_000);
      await expectUnreadable(noting, "the tokens of an organisation");
      expect(await client.call("EXISTS", group.members, group.shared)).to.equal(0);
    });
  });

  describe("on Redis Cluster", function () {
    this.timeout(60_000);
    let connection: Connection;
    before(async () => {
      const cluster = await startCluster({ masters: 3 });
      cleanUp.push(() => cluster.stop());
      const client = new Cluster([...cluster.seeds]);
      cleanUp.push(() => client.disconnect());
      connection = connect({ redis: client, deadlineMs: 1000, logger: silentLogger, scripts });
    });
    describeSessionStore("the Redis store", () => onRedis(connection));

    it("revokes the tokens of other services though the clock of this process is far behind", () =>
      endsForeignTokens(connection, () => onRedis(connection)));

    it("finishes the evictions that an earlier sign-in began before it failed", async () => {
      const keys = new Keyspace(freshPrefix(), "test");
      const subject = keys.sessionsOf("alice");
      const { store } = onRedis(connection);
      const record = keys.revokedToken("access-s1");
      const failing = new Proxy(connection.client, {
        get(target, name) {
          const member: unknown = Reflect.get(target, name, target);
          if (name !== "call" || typeof member !== "function") return member;
          return (...args: unknown[]): unknown => {
            const reply: unknown = args.includes(record)
              ? Promise.reject(new Error("Connection is closed."))
              : Reflect.apply(member, target, args);
            return reply;
          };
        },
      });
      const half = onRedis({ ...connection, client: failing, isUp: () => connection.isUp() });
      await create(store, subject, "s1");
      const failed = await rejectionOf(create(half.store, subject, "s2", { maxSessions: 1 }));
      expect(failed).to.be.instanceOf(StoreFault);
      expect(await connection.client.call("EXISTS", record)).to.equal(0);
      const made = await create(store, subject, "s3", { maxSessions: 1 });
      expect(made.outcome === "created" && made.evicted).to.have.members(["s1", "s2"]);
      expect(await connection.client.call("EXISTS", record)).to.equal(1);
      expect(await store.ids(subject)).to.deep.equal(["s3"]);
    });

    it("spares the tokens of the session that goes on, though it is refreshed in the midst of it", async () => {
      const keys = new Keyspace(freshPrefix(), "test");
      const subject = keys.sessionsOf("alice");
      const { store } = onRedis(connection);
      await create(store, subject, "s1");
      const tokens = ["access-s1", "refresh-s1"].map((jti) => ({
        jti,
        expiresAt: Math.floor(Date.now() / 1000) + 900,
      }));
      await store.trackSubject(subject, { add: tokens, drop: [] });
      const [access, refresh] = tokens.map((token) => ({ ...token, jti: `next ${token.jti}` }));
      const refreshing = async (): Promise<void> => {
        await store.rotate(subject, {
          ...{ id: "s1", presented: "refresh-s1", generation: 0, successor: refresh!.jti, access: access!.jti },
          ...{
            issuedAt: Math.floor(Date.now() / 1000),
            accessSeconds: 900,
            idleMs: 1e6,
            repeatMs: 1000,
            renewedAccess: "n",
          },
          ...{ maxAccess: 16, notAfter: 4e12, changes: {} },
        });
        await store.trackSubject(subject, { add: [access!, refresh!], drop: ["refresh-s1"] });
      };

      const { client } = connection;
      let isRefreshed = false;
      const slow = new Proxy(client, {
        get(target, name) {
          const member: unknown = Reflect.get(target, name, target);
          if (name !== "call" || typeof member !== "function") return member;
          return async (...args: unknown[]): Promise<unknown> => {
            const reply: unknown = await Reflect.apply(member, target, args);
            if (!isRefreshed && ["HGET", "HGETALL", "SMEMBERS"].includes(String(args[0]))) {
              isRefreshed = true;
              await refreshing();
            }
            return reply;
          };
        },
      });
      const slowly = onRedis({ ...connection, client: slow, isUp: () => connection.isUp() });
      expect(await slowly.store.end(subject, { kind: "except", id: "s1" })).to.deep.equal([]);
      expect(isRefreshed).to.equal(true);
      for (const jti of ["access-s1", "refresh-s1", access!.jti, refresh!.jti])
        expect(await client.call("EXISTS", keys.revokedToken(jti)), jti).to.equal(0);
    });

    it("revokes every token of a set though nothing says when they end", () =>
      endsDespitePoison(connection, ["tokens", "group tokens"]));
  });
});
