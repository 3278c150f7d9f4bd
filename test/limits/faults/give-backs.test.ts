import { readFileSync } from "node:fs";
import { expect } from "chai";
import { nowSeconds, signToken, startCluster, startProxy, startRedis, testAuth } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { adapters, allAdapters } from "../../support/app.js";
import type { AnyOptions, RunningApp, TestAdapter } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import type { Latch } from "../../support/latch.js";
import { openLatch } from "../../support/latch.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, operate } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { loginChargeScript } from "../../../packages/core/src/store/redis/scripts/logins.js";

/** A Redis, and what goes wrong with it. */
interface Place {
  readonly redis: AnyOptions["redis"];
  readonly servers: readonly RedisServer[];
  readonly begin: () => unknown;
  readonly end: () => unknown;
}

const places: Readonly<Record<string, () => Promise<Place>>> = {
  async "cannot be reached for a while"() {
    const { server, proxy } = await startBehindProxy();
    return {
      ...{ redis: proxy.url, servers: [server] },
      begin() {
        proxy.mode = "refuse";
        proxy.reset();
      },
      end: () => void (proxy.mode = "pass"),
    };
  },
  async "runs what it is told, and its replies are lost"() {
    const { server, proxy } = await startBehindProxy();
    return {
      ...{ redis: proxy.url, servers: [server] },
      begin: () => void (proxy.mode = "drop-replies"),
      end: () => void (proxy.mode = "pass"),
    };
  },
  async "stands still"() {
    const server = await startRedis();
    cleanUp(() => server.stop());
    return { redis: server.url, servers: [server], begin: () => server.pause(), end: () => server.resume() };
  },
  async "is killed, and comes back with its data"() {
    const server = await startRedis({ config: { appendonly: "yes" } });
    cleanUp(() => server.stop());
    return { redis: server.url, servers: [server], begin: () => server.kill(), end: () => server.restart() };
  },
  async "is a Cluster whose nodes stand still"() {
    const cluster = await startCluster();
    cleanUp(() => cluster.stop());
    return {
      ...{ redis: { cluster: cluster.seeds }, servers: cluster.nodes },
      begin: () => cluster.nodes.forEach((node) => node.pause()),
      end: () => cluster.nodes.forEach((node) => node.resume()),
    };
  },
};

async function startBehindProxy(): Promise<{ server: RedisServer; proxy: Proxy }> {
  const server = await startRedis();
  cleanUp(() => server.stop());
  const proxy = await startProxy(server);
  cleanUp(() => proxy.close());
  return { server, proxy };
}

interface Visitor extends RunningApp {
  /** Status, and what remains of the limit. */
  readonly visit: (path?: string) => Promise<[status: number, remaining: number]>;
  latch: Latch;
}

async function start(
  adapter: TestAdapter,
  redis: AnyOptions["redis"],
  limit: object,
  prefix?: string,
): Promise<Visitor> {
  const options = { redis, prefix, logger: silentLogger, deadline, limits: [limit as never] };
  const visitor = { latch: openLatch() };
  const app = await adapter.start({
    options,
    routes: { "GET /held": async () => visitor.latch.wait(), "GET /": () => ({ in: true }) },
  });
  cleanUp(() => app.close());
  const made = Object.assign(visitor, app, {
    async visit(path = "/"): Promise<[number, number]> {
      const { status, headers } = await send(`${app.url}${path}`);
      return [status, Number(/r=(\d+)/.exec(String(headers.ratelimit))?.[1])];
    },
  });
  await until(async () => Number.isInteger((await made.visit())[1]));
  return made;
}

/**
 * Longer than a disk holds up Redis for its file: a request that is counted in process meanwhile has nothing to give back to
 * Redis, and what Redis counts of it too late stays counted.
 */
const deadline = 1000;

const everybody = { name: "p", per: "ip" } as const;

/** What an outage meets: it was prepared before, and has counted right some time after. */
interface Concerned {
  /** Ends, or begins, while Redis is away. */
  readonly meet: () => Promise<void>;
  readonly read: () => Promise<number[]>;
  readonly expected: readonly number[];
}

type Prepare = (place: Place, prefix: string, adapter: TestAdapter) => Promise<Concerned>;

/** Three requests are under way when Redis goes away. */
async function hold(app: Visitor): Promise<() => Promise<void>> {
  const held = Array.from({ length: 3 }, async () => app.visit("/held"));
  await app.latch.waiting(3);
  return async function meet() {
    app.latch.open();
    const visits = await Promise.all(held);
    expect(visits.map(([status]) => status)).to.deep.equal([200, 200, 200]);
    expect(
      visits.every(([, remaining]) => Number.isInteger(remaining)),
      "all were counted in Redis",
    ).to.equal(true);
  };
}

async function prepareSlots({ redis }: Place, prefix: string, adapter: TestAdapter): Promise<Concerned> {
  const limit = { ...everybody, algorithm: "concurrency", limit: 3, window: "10m" };
  const app = await start(adapter, redis, limit, prefix);
  return { meet: await hold(app), read: async () => [(await app.visit())[1]], expected: [2] };
}

function prepareSettlement(policy: object, each: number): Prepare {
  return async function prepare(place, prefix, adapter) {
    const app = await start(adapter, place.redis, { ...everybody, limit: 1000, window: "1h", ...policy }, prefix);
    // The visits that looked whether the gate is ready are settled first.
    const before = await steady(place, prefix);
    return {
      meet: await hold(app),
      read: async () => [await counted(place, prefix)],
      expected: [before + 3 * each],
    };
  };
}

async function prepareLoginEnd(place: Place, prefix: string, adapter: TestAdapter): Promise<Concerned> {
  const latch = openLatch();
  let fails = true;
  const app = await adapter.start({
    options: { redis: place.redis, prefix, logger: silentLogger, deadline },
    use: (gate) => [gate.throttleLogin({ account: () => "alice" })],
    routes: {
      async "POST /login"({ loginAttempt }) {
        if (fails) return loginAttempt?.fail();
        await latch.wait();
        await loginAttempt?.succeed();
      },
    },
  });
  cleanUp(() => app.close());
  const counters = countersOf(place, prefix);
  const login = (): ReturnType<typeof send> => send(`${app.url}/login`, { method: "POST" });
  // One failure stays counted, so that a success that is taken back twice would show.
  await until(async () => {
    if ((await counters())[0] === 0) await login();
    return (await counters()).every((count) => count === 1);
  });
  fails = false;
  const attempts = [login(), login()];
  await latch.waiting(2);
  await until(async () => (await counters()).every((count) => count === 3));
  return {
    async meet() {
      latch.open();
      await Promise.all(attempts);
    },
    read: counters,
    expected: [1, 0, 1],
  };
}

async function prepareLoginBeginning(place: Place, prefix: string, adapter: TestAdapter): Promise<Concerned> {
  const app = await adapter.start({
    options: { redis: place.redis, prefix, logger: silentLogger, deadline },
    use: (gate) => [gate.throttleLogin({ account: () => "alice", onStoreError: "deny" })],
    routes: { "POST /login": async ({ loginAttempt }) => loginAttempt?.fail() },
  });
  cleanUp(() => app.close());
  const login = async (): Promise<number> => (await send(`${app.url}/login`, { method: "POST" })).status;
  const counters = countersOf(place, prefix);
  // One failure stays counted, so that an attempt that is taken back twice would show.
  await until(async () => (await login()) === 204 && (await counters()).join() === "1,1,1");
  return {
    async meet() {
      expect(await Promise.all([login(), login(), login()])).to.deep.equal([503, 503, 503]);
    },
    read: counters,
    expected: [1, 1, 1],
  };
}

const charged: Readonly<Record<string, Prepare>> = {
  "what countOnly forgives": prepareSettlement({ countOnly: "failures" }, 0),
  "what was reserved beyond the real cost": prepareSettlement({ cost: 4, settle: () => 1 }, 1),
  "what it cost beyond the reservation": prepareSettlement({ cost: 1, settle: () => 3 }, 3),
  "a login that ends meanwhile": prepareLoginEnd,
  "a login that begins meanwhile, and is answered 503": prepareLoginBeginning,
};

/** All of it meets one outage, which is followed by the time in which a second give-back would come. */
async function expectCountedOnce(
  place: Place,
  concerned: readonly (readonly [what: string, prepare: Prepare, adapter: TestAdapter])[],
): Promise<void> {
  const prepared = await Promise.all(
    concerned.map(async ([what, prepare, adapter]) => {
      const name = `${what} (${adapter.name})`;
      return { name, ...(await prepare(place, freshPrefix(), adapter)) };
    }),
  );
  await place.begin();
  await Promise.all(prepared.map(({ meet }) => meet()));
  // Give-backs are on their way, or have failed.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await place.end();
  for (const { name, read, expected } of prepared)
    await until(async () => (await read()).join() === expected.join()).catch(async (error: unknown) => {
      expect(await read(), name).to.deep.equal(expected);
      throw error;
    });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  for (const { name, read, expected } of prepared) expect(await read(), name).to.deep.equal(expected);
  await expectEnds(place.servers);
}

/** Reads what is counted of the only client and the only account: by address, by both together, and by account. */
function countersOf({ servers }: Place, prefix: string): () => Promise<number[]> {
  const operators = servers.map(({ url }) => operate(url));
  const read = async (kind: string): Promise<number> => {
    const found = await Promise.all(
      operators.map(async (operator) => {
        const [key] = await operator.keys(`${prefix}*:login:*:${kind}:*`);
        if (key === undefined) return 0;
        return Number(kind === "pair" ? await operator.hget(key, "n") : await operator.get(key));
      }),
    );
    return found.reduce((sum, one) => sum + one, 0);
  };
  return async () => [await read("ip"), await read("pair"), await read("account")];
}

async function expectEnds(servers: readonly RedisServer[]): Promise<void> {
  for (const { url } of servers) {
    const operator = operate(url);
    for (const key of await operator.keys("*")) expect(await operator.pttl(key), key).to.not.equal(-1);
  }
}

describe("a slot, a settlement or a login that ends while Redis is down", function () {
  this.timeout(90_000);

  // What is charged and given back has no framework in it; the slots of all of them are tried in one outage.
  for (const [index, [what, open]] of Object.entries(places).entries()) {
    const one = adapters[index % 2]!;

    it(`is counted once when Redis answers again: slots, settlements and logins (Redis ${what})`, async () => {
      const slots = (index === 0 ? allAdapters : adapters).map(
        (adapter) => ["slots that are given back, not a window later", prepareSlots, adapter] as const,
      );
      const others = Object.entries(charged).map(([name, prepare]) => [name, prepare, one] as const);
      await expectCountedOnce(await open(), [...slots, ...others]);
    });
  }
});

describe("a slot of a request that was refused", function () {
  this.timeout(60_000);
  const limits = [{ name: "p", per: "user", algorithm: "concurrency", limit: 1, window: "10m" }] as const;
  const longToken = (): Promise<string> => signToken({ exp: nowSeconds() + 4 * 3600 });

  for (const adapter of allAdapters) {
    it(`is free again, although the reply that confirmed it is lost (${adapter.name})`, async () => {
      const { proxy } = await startBehindProxy();
      const app = await adapter.start({
        options: { redis: proxy.url, auth: testAuth, logger: silentLogger, deadline, limits },
        routes: { "GET /": () => ({ in: true }) },
      });
      cleanUp(() => app.close());
      const token = await longToken();
      const ask = async (): Promise<number> => (await send(app.url, { token })).status;
      await until(async () => (await ask()) === 200);
      proxy.cutAfter(":p:");
      expect(await ask()).to.equal(503);
      expect(proxy.cuts).to.equal(1);
      await until(async () => (await ask()) === 200);
    });
  }

  it("is free again if this process refuses a request that Redis has counted", async () => {
    const { proxy } = await startBehindProxy();
    const app = await adapters[0]!.start({
      options: { redis: proxy.url, auth: testAuth, logger: silentLogger, deadline, limits },
      routes: { "GET /": () => ({ in: true }) },
    });
    cleanUp(() => app.close());
    const token = await longToken();
    const ask = async (): Promise<number> => (await send(app.url, { token })).status;
    await until(async () => (await ask()) === 200);
    const { now } = Date;
    // Redis says "not revoked", and a process whose clock is an hour ahead does not know what that means.
    Date.now = () => now() + 3_600_000;
    expect(await ask().finally(() => (Date.now = now))).to.equal(503);
    await until(async () => (await ask()) === 200);
  });
});

describe("a charge that a Redis user with only the permissions of docs/operations.md gives back", () => {
  it("is given back", async () => {
    const server = await startRedis();
    cleanUp(() => server.stop());
    const document = readFileSync(new URL("../../../docs/operations.md", import.meta.url), "utf8");
    const [, rules = ""] = /ACL SETUSER gate ([^`]+)```/.exec(document) ?? [];
    await operate(server.url).call("ACL", "SETUSER", "gate", ...rules.trim().split(/\s+/));
    const redis = `redis://gate:password@127.0.0.1:${server.port}`;
    const app = await start(adapters[0]!, redis, { ...everybody, limit: 20, window: "1h", countOnly: "failures" });
    const place = { redis, servers: [server], begin: () => undefined, end: () => undefined };
    await until(async () => (await counted(place)) === 0);
    expect((await app.visit())[1]).to.equal(19);
    expect((await app.gate.examine()).map(({ code }) => code)).not.to.include("permission_missing");
  });

  it("is given back for logins whose attempts Redis did not answer", async () => {
    const { server, proxy } = await startBehindProxy();
    const document = readFileSync(new URL("../../../docs/operations.md", import.meta.url), "utf8");
    const [, rules = ""] = /ACL SETUSER gate ([^`]+)```/.exec(document) ?? [];
    const [, ofLogins = "", more = ""] = /Logins need `([^`]+)` and `([^`]+)` besides/.exec(document) ?? [];
    await operate(server.url).call("ACL", "SETUSER", "gate", ...rules.trim().split(/\s+/), ofLogins, more);
    const redis = `redis://gate:password@127.0.0.1:${proxy.port}`;
    const app = await adapters[0]!.start({
      options: { redis, logger: silentLogger, deadline },
      use: (gate) => [gate.throttleLogin({ account: () => "alice", onStoreError: "deny" })],
      routes: { "POST /login": async ({ loginAttempt }) => loginAttempt?.fail() },
    });
    cleanUp(() => app.close());
    const login = async (): Promise<number> => (await send(`${app.url}/login`, { method: "POST" })).status;
    const counters = countersOf({ ...{ redis, servers: [server] }, begin: () => undefined, end: () => undefined }, "");
    await until(async () => (await login()) === 204 && (await counters()).join() === "1,1,1");
    proxy.cutAfter(loginChargeScript.sha1);
    expect(await login()).to.equal(503);
    await until(async () => (await counters()).join() === "1,1,1");
    expect(proxy.cuts).to.equal(1);
  });
});

/** The counter of the only client. */
async function counted({ servers }: Place, prefix = ""): Promise<number> {
  let sum = 0;
  for (const { url } of servers) {
    const operator = operate(url);
    for (const key of await operator.keys(`${prefix}*:quota:*`)) sum += Number(await operator.get(key).catch(() => 0));
  }
  return sum;
}

/** The same, when nothing changes it any more. */
async function steady(place: Place, prefix: string): Promise<number> {
  let last = -1;
  await until(async () => {
    const before = last;
    last = await counted(place, prefix);
    await new Promise((resolve) => setTimeout(resolve, 50));
    return last === before;
  });
  return last;
}
