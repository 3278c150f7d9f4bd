import { readdirSync, readFileSync } from "node:fs";
import { expect } from "chai";
import { makeCertificates, startCluster, startProxy, startRedis, startSentinel } from "@portcullis/testkit";
import { Redis } from "ioredis";
import { Redis as Redis5 } from "ioredis5";
import type { AnyOptions } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { operate } from "../../support/redis.js";
import { readDocument } from "../../docs/documents.js";
import type { Rig } from "../../support/rig.js";
import { startRig } from "../../support/rig.js";
import { redisPassword } from "../../support/witness.js";

const limits = [{ name: "user", per: "user", limit: 1000, window: "1m" }] as const;
/** Milliseconds that no healthy Redis takes on a busy machine. */
const deadline = 500;

/** Of the least user that docs/operations.md advises, without its password. */
function documentedRules(): string[] {
  const [, rules = ""] = /ACL SETUSER gate on >password ([^`]+)```/.exec(readDocument("docs/operations.md")) ?? [];
  return ["on", ...rules.trim().split(/\s+/)];
}

describe("a gate finds its Redis", function () {
  this.timeout(60_000);
  async function start(redis: AnyOptions["redis"]): Promise<Rig> {
    return startRig({ redis, limits, deadline });
  }

  async function launch(options: Parameters<typeof startRedis>[0] = {}) {
    const server = await startRedis(options);
    cleanUp(() => server.stop());
    return server;
  }

  async function works(rig: Rig): Promise<void> {
    await rig.recovered();
    expect(await rig.traffic(3)).to.deep.equal(new Set([200]));
    expect((await rig.ask()).headers.ratelimit).to.match(/^"user";r=\d+;t=\d+$/);
    expect(rig.app.gate.health().store).to.deep.include({ kind: "redis", status: "up" });
  }

  it("behind TLS, with a certificate of its own, as a user with only the needed permissions", async () => {
    const certificates = makeCertificates();
    const server = await launch({ tls: certificates });
    const operator = operate(server.url);
    await operator.call("ACL", "SETUSER", "gate", `>${redisPassword}`, ...documentedRules());
    const url = `rediss://gate:${redisPassword}@localhost:${server.tlsPort}`;
    await works(await start({ url, tls: { ca: certificates.ca, ...certificates.client } }));
  });

  it("as a user who may do all that any script or call does", () => {
    const rules = readDocument("docs/operations.md").matchAll(/(?<=\s|`)\+(\w+)/g);
    // Redis lets everybody authenticate.
    const allowed = new Set(["AUTH", ...Array.from(rules, ([, command = ""]) => command.toUpperCase())]);
    const folder = new URL("../../../packages/core/src/", import.meta.url);
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
    const sources = files.map((file) => readFileSync(new URL(file, folder), "utf8")).join("\n");
    const commands = Array.from(sources.matchAll(/(?:\bcall\(\s*"|\(\s*')([A-Z]{3,})['"]/g), ([, command]) => command);
    expect(commands).to.have.length.greaterThan(50);
    expect([...new Set(commands)].filter((command = "") => !allowed.has(command))).to.deep.equal([]);
  });

  it("never without checking who answers", async () => {
    const certificates = makeCertificates();
    const server = await launch({ tls: certificates });
    const redis = { host: "localhost", port: server.tlsPort ?? 0, tls: { ...certificates.client } };
    const rig = await startRig({ redis }, { waits: false });
    for (let round = 0; round < 5; round += 1) expect((await rig.ask()).status).to.equal(503);
    expect(rig.app.gate.health().store.findings).to.include("not connected");
  });

  it("on a unix socket, in a database of its own", async () => {
    const server = await launch({ unixSocket: true });
    await works(await start(`redis+unix://${server.unixSocket}?db=2`));
    expect(await operate(server.url, { db: 2 }).dbsize()).to.be.greaterThan(0);
  });

  it("under Sentinel, with a password", async () => {
    const group = await startSentinel({ password: redisPassword });
    cleanUp(() => group.stop());
    const hosts = group.sentinels.map(({ host, port }) => `${host}:${port}`).join(",");
    await works(await start(`redis+sentinel://:${redisPassword}@${hosts}/${group.name}`));
  });

  it("in a Cluster, with a password", async () => {
    const cluster = await startCluster({ password: redisPassword });
    cleanUp(() => cluster.stop());
    await works(await start({ cluster: cluster.seeds.slice(0, 2), password: redisPassword }));
  });

  it("twice: records in one, cached values in another, which may be away", async () => {
    const [security, cache] = [await launch(), await launch()];
    const rig = await start({ security: security.url, cache: cache.url });
    await works(rig);
    expect(await operate(security.url).keys("*:cache:*")).to.deep.equal([]);
    await cache.kill();
    expect(await rig.traffic(5)).to.deep.equal(new Set([200]));
  });

  for (const [name, Client] of [
    ["ioredis 6", Redis],
    ["ioredis 5", Redis5],
  ] as const) {
    it(`by a client of the user's own with the defaults of ${name}, and still answers in time`, async () => {
      const server = await launch();
      const proxy = await startProxy(server);
      cleanUp(() => proxy.close());
      const client = new Client(proxy.url, { keyPrefix: "mine:" });
      client.on("error", () => undefined);
      cleanUp(() => client.disconnect());
      const rig = await start(client);
      await works(rig);
      const operator = operate(server.url);
      expect((await operator.keys("*")).filter((key) => !key.startsWith("mine:"))).to.deep.equal([]);
      proxy.freeze();
      expect(await rig.traffic(10)).to.deep.equal(new Set([503]));
      proxy.thaw();
      await rig.recovered();
    });
  }
});
