import { expect } from "chai";
import { Cluster } from "ioredis";
import type { Finding, PortcullisOptions } from "@portcullis/core";
import { findFreePort, startCluster, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import type { FakeGate } from "../../support/fake-gate.js";
import { openGate } from "../../support/fake-gate.js";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { readDocument } from "../../docs/documents.js";

describe("the examination of a gate's environment", function () {
  this.timeout(30_000);
  async function serve(config: Record<string, string> = {}): Promise<RedisServer> {
    const server = await startRedis({ config });
    cleanUp(() => server.stop());
    return server;
  }

  function open(options: PortcullisOptions<undefined>): FakeGate {
    return openGate({ keySecret: "a secret of the test", auth: testAuth, ...options });
  }

  async function codesOf(gate: FakeGate): Promise<string[]> {
    return (await gate.examine()).map(({ code, severity }) => `${severity} ${code}`);
  }

  it("finds nothing wrong with a Redis that is set up well", async () => {
    const { url } = await serve({ appendonly: "yes" });
    expect(await codesOf(open({ redis: url }))).to.deep.equal([]);
  });

  it("finds settings of Redis that will drop or lose revocations", async () => {
    const server = await serve({ maxmemory: "50mb", "maxmemory-policy": "allkeys-lru" });
    const gate = open({ redis: server.url });
    expect(await codesOf(gate)).to.have.members(["error eviction_policy", "warning persistence_off"]);
    const { url } = await serve({ "maxmemory-policy": "volatile-ttl", save: "3600 1" });
    expect(await codesOf(open({ redis: url }))).to.have.members(["warning eviction_policy", "info persistence_off"]);
  });

  it("finds a replica, and missing permissions with their purpose", async () => {
    const master = await serve({ appendonly: "yes" });
    const replica = await serve({ appendonly: "yes", replicaof: `127.0.0.1 ${master.port}` });
    expect(await codesOf(open({ redis: replica.url }))).to.include("error replica");
    const operator = operate(master.url);
    await operator.acl("SETUSER", "weak", "on", ">weak-password", "~*", "+@all", "-exists", "-set");
    await operator.acl("SETUSER", "reader", "on", ">reader-password", "~auth:*", "+@all");
    const findings = await open({ redis: `redis://weak:weak-password@127.0.0.1:${master.port}` }).examine();
    const permission = findings.find(({ code }) => code === "permission_missing");
    expect(permission?.message)
      .to.match(/asking about revocations/)
      .and.match(/caching/);
    const other = await open({ redis: `redis://reader:reader-password@127.0.0.1:${master.port}` }).examine();
    expect(other.map(({ code }) => code)).to.include("permission_missing");
    expect(JSON.stringify([findings, other])).not.to.match(/password|127\.0\.0\.1|weak/);
    expect(await operator.keys("*examination*")).to.have.length.at.most(3);
    for (const key of await operator.keys("*examination*")) expect(await operator.pttl(key)).to.be.within(1, 1000);
  });

  it("reports that Redis does not answer, instead of failing", async () => {
    const gate = open({ redis: `redis://127.0.0.1:${await findFreePort()}` });
    expect(await codesOf(gate)).to.deep.equal(["error store_unreachable"]);
  });

  it("finds risks in the options", async () => {
    expect(await codesOf(openGate({}))).to.deep.equal(["info store_in_process"]);
    const { url } = await serve({ appendonly: "yes" });
    const gate = open({ redis: url, keySecret: undefined });
    expect(await codesOf(gate)).to.deep.equal(["info key_secret_default"]);
    const keyless = open({
      redis: url,
      auth: { jwksUri: `http://127.0.0.1:${await findFreePort()}/`, audience: false, sharedIssuer: false },
    });
    expect(await codesOf(keyless)).to.deep.equal(["error keys_missing"]);
  });

  it("finds that every proxy is trusted, once a request has come", async () => {
    const { url } = await serve({ appendonly: "yes" });
    for (const adapter of adapters) {
      const limits = [{ name: "ip", per: "ip", limit: 5, window: "1m" }] as const;
      const app = await adapter.start({
        options: { redis: url, keySecret: "s", limits, logger: silentLogger },
        behindProxy: "every",
        routes: { "GET /": () => ({}) },
      });
      await send(`${app.url}/`);
      expect((await app.gate.examine()).map(({ code }) => code)).to.deep.equal(["proxies_trusted"]);
    }
  });

  it("finds caches in Redis whose service has no name, as soon as they are used, and reports it once", async () => {
    const { url } = await serve({ appendonly: "yes" });
    const anybody = { ...testAuth, audience: false } as const;
    const rest = { redis: url, keySecret: "s" } as const;
    const unnamed: PortcullisOptions<undefined>[] = [
      rest,
      { ...rest, auth: anybody },
      { ...rest, redis: { security: url, cache: { url, db: 1 } } },
    ];
    const uses: ((gate: FakeGate) => unknown)[] = [
      ({ cache }) => cache.get("k"),
      ({ cache }) => cache.delete("k"),
      ({ responses }) => responses.purge("t"),
      (gate) => gate.cacheResponse({ ttl: "1m" }),
    ];
    for (const options of unnamed) {
      for (const use of uses) {
        const said: object[] = [];
        const logger = {
          debug: () => undefined,
          // Many gates are open here at once.
          warn(fields: { code?: string }) {
            if (fields.code !== "gate_in_handler") said.push(fields);
          },
        };
        const gate = openGate({ ...options, logger });
        expect(await codesOf(gate)).to.deep.equal([]);
        for (let round = 0; round < 3; round += 1) await use(gate);
        expect(await codesOf(gate), String(use)).to.have.members(["warning service_unnamed", "info cache_shared"]);
        expect(said).to.deep.equal([{ code: "service_unnamed", severity: "warning" }]);
      }
    }
    const named: PortcullisOptions<undefined>[] = [
      { ...rest, service: "orders-api" },
      { ...rest, auth: testAuth },
      { ...rest, auth: anybody, service: "orders-api" },
      { ...rest, cache: { redis: false } },
    ];
    for (const options of named) {
      const gate = openGate(options);
      for (const use of uses) await use(gate);
      expect(await codesOf(gate)).not.to.include("warning service_unnamed");
    }
  });

  it("finds caches in the Redis that must not evict, as soon as they are used: a warning where it is bounded", async () => {
    const { url } = await serve({ appendonly: "yes" });
    const bounded = await serve({ appendonly: "yes", maxmemory: "50mb" });
    const other = await serve({ maxmemory: "50mb", "maxmemory-policy": "allkeys-lfu" });
    const uses: ((gate: FakeGate) => unknown)[] = [
      ({ cache }) => cache.set("k", 1),
      ({ responses }) => responses.purgePath("/"),
      (gate) => gate.cacheResponse({ ttl: "1m" }),
    ];
    for (const use of uses) {
      for (const [redis, expected] of [
        [url, ["info cache_shared"]],
        [bounded.url, ["warning cache_shared"]],
        [{ security: bounded.url, cache: `${bounded.url}/1` }, ["warning cache_shared"]],
        [{ security: bounded.url, cache: other.url }, []],
      ] as const) {
        const gate = open({ redis });
        expect(await codesOf(gate)).to.deep.equal([]);
        await use(gate);
        expect(await codesOf(gate), `${String(use)} ${JSON.stringify(redis)}`).to.deep.equal(expected);
      }
      for (const options of [{ redis: "memory" as const }, { redis: bounded.url, cache: { redis: false } as const }]) {
        const gate = open(options);
        await use(gate);
        expect((await codesOf(gate)).join()).not.to.include("cache_shared");
      }
    }
  });

  it("warns of them at the start, where the cache is set up by then", async () => {
    const { url } = await serve({ appendonly: "yes", maxmemory: "50mb" });
    const said: object[] = [];
    const logger = { debug: () => undefined, warn: (fields: object) => void said.push(fields) };
    open({ redis: url, logger }).cacheResponse({ ttl: "1m" });
    await until(() => said.length > 0);
    expect(said).to.deep.equal([{ code: "cache_shared", severity: "warning" }]);
  });

  it("looks at a cluster", async () => {
    const cluster = await startCluster();
    cleanUp(() => cluster.stop());
    const client = new Cluster([...cluster.seeds]);
    cleanUp(() => client.disconnect());
    const findings = await codesOf(open({ redis: client }));
    expect(findings.filter((finding) => finding.startsWith("error"))).to.deep.equal([]);
  });

  it("finds a cluster that is there as soon as it is started, and so do its first requests", async () => {
    const cluster = await startCluster();
    cleanUp(() => cluster.stop());
    const said: object[] = [];
    const logger = {
      debug: (fields: object) => void said.push(fields),
      warn: (fields: object) => void said.push(fields),
    };
    // A machine under load may take longer than the default to connect to all of them.
    const gate = open({ redis: { cluster: cluster.seeds }, keySecret: "s", logger, deadline: 5000 });
    const expiresAt = Math.floor(Date.now() / 1000) + 60;
    const first = Array.from({ length: 50 }, (_, index) =>
      gate.revocations.revoke({ jti: `first-${index}`, expiresAt }),
    );
    const ends = await Promise.allSettled(first);
    expect(ends.flatMap((end) => (end.status === "rejected" ? [String(end.reason)] : []))).to.deep.equal([]);
    await until(() => said.length > 0);
    expect(said).to.deep.equal([{ code: "persistence_off", severity: "warning" }]);
  });

  it("is logged once, when Redis is reached, with a place to read on", async () => {
    const { url } = await serve({ "maxmemory-policy": "allkeys-lfu" });
    const said: { level: string; fields: object; message: string }[] = [];
    const logger = {
      debug: (fields: object, message: string) => void said.push({ level: "debug", fields, message }),
      warn: (fields: object, message: string) => void said.push({ level: "warn", fields, message }),
    };
    const gate = open({ redis: url, logger });
    await until(() => said.filter(({ level }) => level === "warn").length >= 2);
    await gate.examine();
    const warnings = said.filter(({ level }) => level === "warn").map(({ fields }) => fields);
    expect(warnings).to.have.deep.members([
      { code: "eviction_policy", severity: "warning" },
      { code: "persistence_off", severity: "warning" },
    ]);
    for (const { message } of said)
      expect(message).to.match(/\(see @portcullis\/core\/docs\/operations\.md#[a-z_]+\)$/);
  });

  it("has a heading for every finding in docs/operations.md", () => {
    const source = readDocument("packages/core/src/store/ports/health.ts");
    const codes = Array.from(source.matchAll(/^ {2}\| "(\w+)"/gm), ([, code]) => code as Finding["code"]);
    expect(codes).to.have.length.greaterThan(10);
    const [examination = ""] = /^## Examination$.*?(?=^## )/ms.exec(readDocument("docs/operations.md")) ?? [];
    const headings = Array.from(examination.matchAll(/^### (\w+)$/gm), ([, code]) => code);
    expect(headings).to.have.members(codes);
  });
});
