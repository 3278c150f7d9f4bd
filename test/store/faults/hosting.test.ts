import { expect } from "chai";
import { Redis } from "ioredis";
import { signToken, startCluster, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisCluster, RedisServer } from "@portcullis/testkit";
import type { Logger, PortcullisOptions } from "@portcullis/core";
import type { FakeGate } from "../../support/fake-gate.js";
import { openGate } from "../../support/fake-gate.js";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { operate } from "../../support/redis.js";
import { startShard } from "../support/shard.js";
import { startRefusingProxy } from "../../support/refusing-proxy.js";
import { until } from "../../support/until.js";

/** Milliseconds that no healthy Redis takes on a busy machine. */
const deadline = 2000;

const limits = [{ name: "user", per: "user", limit: 1000, window: "1m" }] as const;

interface Opened {
  readonly gate: FakeGate;
  /** What the gate has warned of. */
  readonly said: readonly string[];
}

function open(redis: PortcullisOptions<undefined>["redis"], more: PortcullisOptions<undefined> = {}): Opened {
  const said: string[] = [];
  const logger: Logger = { debug: () => undefined, warn: (_fields, message) => void said.push(message) };
  const gate = openGate({
    redis,
    auth: testAuth,
    keySecret: "a secret of the test",
    limits,
    deadline,
    logger,
    ...more,
  });
  return { gate, said };
}

async function isAllowed(gate: FakeGate, token: string): Promise<boolean> {
  return (await gate.verify(token)).allowed;
}

/** Accepts a token, counts nothing wrong, and refuses the token after its revocation. */
async function works(gate: FakeGate): Promise<void> {
  const token = await signToken({ sub: "somebody" });
  await until(() => isAllowed(gate, token));
  await gate.cache.set("key", { a: 1 });
  expect(await gate.cache.get("key")).to.deep.equal({ a: 1 });
  const verdict = await gate.verify(token);
  if (!verdict.allowed) throw new Error("refused");
  await gate.revocations.revoke(verdict.auth);
  expect(await isAllowed(gate, token), "after the revocation").to.equal(false);
  expect(gate.health().store.status).to.equal("up");
}

async function codesOf(gate: FakeGate): Promise<string[]> {
  return (await gate.examine()).map(({ code, severity }) => `${severity} ${code}`);
}

describe("a Redis as it is sold", function () {
  this.timeout(60_000);
  let server: RedisServer;
  /** They need seconds to begin; the first tests run meanwhile. */
  let clusters: Promise<[RedisCluster, RedisServer]>;

  before(async () => {
    clusters = Promise.all([startCluster({ masters: 3 }), startShard()]);
    clusters.catch(() => undefined);
    server = await startRedis({ config: { appendonly: "yes", appendfsync: "no" } });
  });
  after(async () => Promise.all([server, ...(await clusters)].map((one) => one.stop())));

  const outages: Readonly<Record<string, string>> = {
    "the quota of a plan is used up":
      "ERR max requests limit exceeded. Limit: 500000, Usage: 500000. See https://x.example",
    "the daily quota of a plan is used up": "ERR max daily request limit exceeded. Limit: 10000, Usage: 10001",
    "a proxy has no server behind it": "no upstream host",
    "the server behind a proxy fails": "upstream failure",
    "a server forbids keys that a script did not declare":
      "ERR Error running script (call to f_1): @user_script:2: script tried accessing undeclared key, key: k",
    "a server does not know the command": "ERR unknown command 'EVALSHA', with args beginning with: ",
    "a server says something that nobody knows": "ERR server is overloaded",
  };
  async function breaks(error: string): Promise<void> {
    const proxy = await startRefusingProxy(server);
    const said: string[] = [];
    const logger: Logger = { debug: () => undefined, warn: (_fields, message) => void said.push(message) };
    const app = await adapters[0]!.start({
      options: { redis: proxy.url, auth: testAuth, keySecret: "s", logger, limits, deadline },
      use: (gate) => [gate.routes.health(), gate.guard()],
      routes: { "GET /me": () => ({}) },
    });
    const token = await signToken();
    const me = async (): Promise<number> => (await send(`${app.url}/me`, { token })).status;
    const ready = async (): Promise<number> => (await send(`${app.url}/readyz`)).status;
    await until(async () => (await me()) === 200);
    expect(await ready(), error).to.equal(200);
    await app.gate.examine();
    said.length = 0;
    const own = ["INFO", "CLIENT", "HELLO", "PING", "SUBSCRIBE", "QUIT"];
    proxy.refuse = ([name = ""]) => (own.includes(name.toUpperCase()) ? undefined : error);
    for (let round = 0; round < 20; round += 1) expect(await me(), error).to.equal(503);
    expect(app.gate.breakers.some(({ state }) => state !== "closed")).to.equal(true);
    expect([await ready(), app.gate.health().store.status], error).to.deep.equal([503, "down"]);
    expect(said, error).to.have.length(1);
    expect(said[0]).to.match(/^portcullis: Redis refuses calls: ERR/);
    proxy.refuse = () => undefined;
    await until(async () => (await me()) === 200 && (await ready()) === 200);
    await until(() => said.length > 1);
    expect(said.slice(1), error).to.deep.equal(["portcullis: Redis answers again"]);
  }

  it(`is an outage with one line in the log while ${Object.keys(outages).join("; ")}`, async () => {
    await Promise.all(Object.values(outages).map(breaks));
  });

  it("that refuses CLIENT TRACKING (Upstash) works, and a finding says that changes come later", async () => {
    const proxy = await startRefusingProxy(server, ([name, sub = ""]) =>
      name?.toUpperCase() === "CLIENT" && sub.toUpperCase() === "TRACKING"
        ? "ERR Command is not available: 'CLIENT TRACKING'. See https://x.example"
        : undefined,
    );
    const { gate } = open(proxy.url, { revocation: { check: "tracked" }, cache: { tracked: ["t"] } });
    await works(gate);
    await until(async () => (await codesOf(gate)).includes("warning tracking_refused"));
    expect((await codesOf(gate)).filter((code) => code.startsWith("error"))).to.deep.equal([]);
  });

  it("behind a proxy without HELLO, INFO, CLIENT, SUBSCRIBE, SCRIPT and CONFIG (Envoy) works", async () => {
    const lacking = ["HELLO", "INFO", "CLIENT", "SUBSCRIBE", "SCRIPT", "CONFIG", "WAIT"];
    const proxy = await startRefusingProxy(server, ([name = ""]) =>
      lacking.includes(name.toUpperCase()) ? `unsupported command '${name.toLowerCase()}'` : undefined,
    );
    const { gate, said } = open(proxy.url);
    await works(gate);
    expect(proxy.refused).to.include.members(["HELLO 3", "INFO"]);
    expect(said.filter((line) => /connection to Redis failed|refuses calls/.test(line))).to.deep.equal([]);
    expect((await codesOf(gate)).filter((code) => code.startsWith("error"))).to.deep.equal([]);
  });

  for (const masters of [1, 3]) {
    it(`at redis:// that is a node of a Cluster with ${masters} masters is used as that Cluster`, async () => {
      const [cluster, shard] = await clusters;
      const { url } = masters === 1 ? shard : cluster.nodes[0]!;
      const { gate, said } = open(url, {
        revocation: { check: "tracked" },
        cache: { tracked: true },
      });
      const tokens = await Promise.all(
        Array.from({ length: 30 }, async (_, index) => signToken({ sub: `user-${index}` })),
      );
      await until(() => isAllowed(gate, tokens[0]!));
      for (const token of tokens) expect(await isAllowed(gate, token)).to.equal(true);
      await works(gate);
      expect(said.filter((line) => /refuses calls|connection to Redis/.test(line))).to.deep.equal([]);
      expect((await codesOf(gate)).filter((code) => code.startsWith("error"))).to.deep.equal([]);
      // The listening connections follow: another process hears of a revocation.
      const other = open(url.replace("redis:", "redis+cluster:")).gate;
      const token = await signToken({ sub: "elsewhere" });
      for (let round = 0; round < 5; round += 1) expect(await isAllowed(gate, token)).to.equal(true);
      await until(() => isAllowed(other, token));
      const verdict = await other.verify(token);
      if (verdict.allowed) await other.revocations.revoke(verdict.auth);
      await until(async () => !(await isAllowed(gate, token)));
    });
  }

  it("that is a node of a Cluster, with a client of a single server, is a finding that says what to pass", async () => {
    const [cluster] = await clusters;
    const client = new Redis(cluster.nodes[0]!.url, { maxRetriesPerRequest: 0 });
    cleanUp(() => client.disconnect());
    const { gate, said } = open(client);
    await until(() => client.status === "ready");
    const token = await signToken();
    for (let round = 0; round < 10; round += 1) await gate.verify(token);
    const findings = await gate.examine();
    expect(findings.find(({ code }) => code === "cluster_mode")?.message).to.include("pass a Cluster client");
    expect(said.join("\n")).to.match(/refuses calls: (?:MOVED|CROSSSLOT)/);
    expect(gate.health().store.status).to.equal("down");
  });

  const permissions: Readonly<Record<string, readonly [rule: string, works: boolean, finding: RegExp]>> = {
    TIME: ["-time", false, /the time of Redis \(TIME\)/],
    EVALSHA: ["-evalsha", false, /scripts by their digest \(EVALSHA\)/],
    "SCRIPT LOAD": ["-script|load", true, /^$/],
    INFO: ["-info", true, /^$/],
    CONFIG: ["-config", true, /^$/],
    HELLO: ["-hello", true, /^$/],
  };
  for (const [command, [rule, isUsable, finding]] of Object.entries(permissions)) {
    it(`without the permission for ${command} ${isUsable ? "works" : "is an outage, and the examination names it"}`, async () => {
      const operator = operate(server.url);
      const user = `without-${command.toLowerCase().replace(" ", "-")}`;
      await operator.acl("SETUSER", user, "on", ">password-of-the-user", "~*", "&*", "+@all", rule);
      const { gate, said } = open(`redis://${user}:password-of-the-user@127.0.0.1:${server.port}`);
      if (isUsable) await works(gate);
      else {
        const token = await signToken();
        await until(async () => !(await isAllowed(gate, token)) && gate.health().store.status === "down");
        for (let round = 0; round < 8; round += 1) expect(await isAllowed(gate, token)).to.equal(false);
        expect(said.filter((line) => /refuses calls/.test(line))).to.deep.equal([
          "portcullis: Redis refuses calls: NOPERM",
        ]);
      }
      const messages = (await gate.examine())
        .filter(({ severity }) => severity === "error")
        .map(({ message }) => message);
      expect(messages.join("\n")).to.match(finding);
      expect(JSON.stringify([said, messages])).to.not.include("password-of-the-user");
    });
  }

  for (const command of ["TIME", "EVALSHA"]) {
    it(`with rename-command ${command} "" is an outage that the log and the examination name`, async () => {
      const renamed = await startRedis({ config: { [`rename-command ${command}`]: "" } });
      cleanUp(() => renamed.stop());
      const { gate, said } = open(renamed.url);
      const token = await signToken();
      await until(async () => !(await isAllowed(gate, token)) && gate.health().store.status === "down");
      await until(() => said.join("\n").includes("Redis refuses calls: ERR unknown command"));
      const messages = (await gate.examine()).map(({ message }) => message).join("\n");
      expect(messages).to.include(`(${command})`);
    });
  }
});
