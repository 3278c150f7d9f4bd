import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import type { LimitOptions, QuotaKey } from "../../../packages/core/src/index.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";

const perAddress = { name: "ip", per: "ip", limit: 5, window: "1m" } as const;
const address = "203.0.113.7";

for (const where of ["memory", "redis"] as const) {
  describe(`quotas at run time, ${where === "memory" ? "in process" : "on Redis"}`, () => {
    const gates: FakeGate[] = [];
    let prefix: string;
    let redis: Redis;

    before(() => {
      redis = new Redis(testRedisUrl());
    });
    beforeEach(() => {
      prefix = freshPrefix();
    });
    afterEach(async () => {
      for (const gate of gates.splice(0)) await gate.close();
    });
    after(() => redis.disconnect());

    function open(limits: readonly LimitOptions<undefined>[] = [perAddress], options: FakeOptions = {}): FakeGate {
      const target = where === "memory" ? "memory" : testRedisUrl();
      const gate = openGate({ redis: target, prefix, deadline: 2000, limits, ...options });
      gates.push(gate);
      return gate;
    }

    async function visit(gate: FakeGate, from = address): Promise<number> {
      const verdict = await gate.guard().check(fakeExchange({ ip: from }));
      return verdict.allowed ? 200 : verdict.status;
    }
    const visits = async (gate: FakeGate, count: number): Promise<number[]> => {
      const statuses: number[] = [];
      for (let index = 0; index < count; index += 1) statuses.push(await visit(gate));
      return statuses;
    };

    it("tells how a client stands, and counts nothing", async () => {
      const gate = open();
      const fresh = await gate.quotas.peek("ip", address);
      expect(fresh).to.deep.include({ policy: "ip", limit: 5, windowSeconds: 60, consumed: 0, remaining: 5 });
      expect(fresh.blocked).to.equal(false);
      await visits(gate, 2);
      for (let index = 0; index < 3; index += 1) {
        const { consumed, remaining, resetSeconds } = await gate.quotas.peek("ip", `::ffff:${address}`);
        expect([consumed, remaining]).to.deep.equal([2, 3]);
        expect(resetSeconds).to.be.within(50, 60);
      }
      if (where === "redis") expect(await redis.keys(`${prefix}*:ip:*`)).to.have.length(1);
    });

    for (const algorithm of ["fixed-window", "sliding-window", "token-bucket", "concurrency"] as const)
      it(`tells how a client stands while an override refuses all its requests (${algorithm})`, async () => {
        const gate = open([{ ...perAddress, algorithm }]);
        await visits(gate, 2);
        await gate.quotas.setOverride("ip", address, { limit: 0 });
        const { limit, consumed, remaining, resetSeconds } = await gate.quotas.peek("ip", address);
        expect([limit, consumed, remaining]).to.deep.equal([0, 2, 0]);
        expect(resetSeconds).to.be.within(0, 63);
        expect(await visit(gate)).to.equal(429);
      });

    for (const algorithm of ["sliding-window", "token-bucket", "concurrency"] as const) {
      it(`tells how a client stands under ${algorithm}`, async () => {
        const gate = open([{ ...perAddress, algorithm }]);
        await visits(gate, 2);
        const { consumed, remaining } = await gate.quotas.peek("ip", address);
        expect([consumed, remaining]).to.deep.equal([2, 3]);
        await gate.quotas.reset("ip", address);
        expect((await gate.quotas.peek("ip", address)).consumed).to.equal(0);
      });
    }

    it("gives a whole quota back", async () => {
      const gate = open();
      expect((await visits(gate, 6)).at(-1)).to.equal(429);
      await gate.quotas.reset("ip", address);
      expect(await visits(gate, 6)).to.deep.equal([200, 200, 200, 200, 200, 429]);
    });

    it("blocks one client at once, for a while, and ends that", async () => {
      const gate = open();
      await gate.quotas.block("ip", address, { for: "10m" });
      const verdict = await gate.guard().check(fakeExchange({ ip: address }));
      if (verdict.allowed || !("problem" in verdict)) throw new Error("the blocked client passed");
      expect([verdict.status, verdict.problem.code]).to.deep.equal([429, "abuse_detected"]);
      const retryAfter = verdict.headers.find(([name]) => name === "Retry-After")?.[1];
      expect(Number(retryAfter)).to.be.within(590, 600);
      expect(await visit(gate, "203.0.113.8")).to.equal(200);
      const state = await gate.quotas.peek("ip", address);
      expect([state.blocked, state.remaining]).to.deep.equal([true, 0]);
      expect(state.resetSeconds).to.be.within(590, 600);
      await gate.quotas.unblock("ip", address);
      expect(await visit(gate)).to.equal(200);
      expect((await gate.quotas.peek("ip", address)).blocked).to.equal(false);
    });

    it("lets a block end with its time", async () => {
      const gate = open();
      await gate.quotas.block("ip", address, { for: "700ms" });
      expect(await visit(gate)).to.equal(429);
      await until(async () => (await visit(gate)) === 200);
      expect((await gate.quotas.peek("ip", address)).blocked).to.equal(false);
    });

    it("ends a block that a policy has made by itself", async () => {
      const gate = open([{ ...perAddress, limit: 1, block: { after: 2, for: "1h" } }]);
      await visits(gate, 4);
      expect((await gate.quotas.peek("ip", address)).blocked).to.equal(true);
      await gate.quotas.reset("ip", address);
      expect(await visit(gate)).to.equal(429);
      await gate.quotas.unblock("ip", address);
      expect(await visit(gate)).to.equal(200);
    });

    it("changes the limit of one client, and of all others, until it is cleared", async () => {
      const gate = open();
      await gate.quotas.setOverride("ip", { limit: 2 });
      await gate.quotas.setOverride("ip", address, { limit: 3 });
      expect((await visits(gate, 4)).filter((status) => status === 200)).to.have.length(3);
      const other = async (): Promise<number> => visit(gate, "203.0.113.8");
      expect([await other(), await other(), await other()]).to.deep.equal([200, 200, 429]);
      expect((await gate.quotas.peek("ip", address)).limit).to.equal(3);
      await gate.quotas.clearOverride("ip", address);
      expect((await gate.quotas.peek("ip", address)).limit).to.equal(2);
      await gate.quotas.clearOverride("ip");
      expect((await gate.quotas.peek("ip", address)).limit).to.equal(5);
      expect([await other(), await visit(gate)]).to.deep.equal([200, 200]);
    });

    it("overrules functions too, and windows", async () => {
      const gate = open([{ name: "ip", per: "ip", limit: () => 1, window: () => "1h" }]);
      expect(await gate.quotas.peek("ip", address)).to.include({ limit: undefined, remaining: undefined });
      await gate.quotas.setOverride("ip", { limit: 2, window: "10s" });
      const exchange = fakeExchange({ ip: address });
      await gate.guard().check(exchange);
      expect(exchange.state.facts.quotas[0]).to.include({ limit: 2, windowSeconds: 10, remaining: 1 });
      expect(exchange.state.facts.quotas[0]?.resetSeconds).to.be.within(9, 10);
      expect((await gate.quotas.peek("ip", address)).windowSeconds).to.equal(10);
    });

    it("lets an override end with its time", async () => {
      const gate = open();
      await gate.quotas.setOverride("ip", { limit: 0, for: "700ms" });
      expect(await visit(gate)).to.equal(429);
      await until(async () => (await visit(gate)) === 200);
    });

    it("lists the clients with the most requests, and accepts each listed client as a key", async () => {
      const gate = open([{ ...perAddress, limit: 1000 }]);
      for (let index = 0; index < 30; index += 1) await visit(gate, `203.0.113.${index % 3 === 0 ? 1 : 2}`);
      await visit(gate, "2001:db8::1");
      const busiest = await gate.quotas.busiest({ policy: "ip", limit: 2 });
      expect(busiest.map(({ key, points }) => [key, points])).to.deep.equal([
        ["203.0.113.2", 20],
        ["203.0.113.1", 10],
      ]);
      const { partition } = busiest[0]!;
      expect(partition).to.match(/^a:0{32}:~[\w-]{24}$/);
      await gate.quotas.block("ip", { partition }, { for: "1h" });
      expect(await visit(gate, "203.0.113.2")).to.equal(429);
      expect(await visit(gate, "203.0.113.1")).to.equal(200);
    });

    it("names each client by the key that the policy counts by", async () => {
      const gate = open(
        [
          { name: "user", per: "user", limit: 5, window: "1m" },
          { name: "key", per: { header: "X-Api-Key" }, limit: 5, window: "1m" },
          { name: "tenant", per: { claim: "tenant" }, limit: 5, window: "1m" },
          { name: "route", per: ["user", () => "a b"], limit: 5, window: "1m" },
        ],
        { auth: testAuth },
      );
      const token = await signToken({ sub: "alice@example.com", tenant: "acme" });
      const exchange = fakeExchange({ headers: { authorization: `Bearer ${token}`, "x-api-key": "k-1" } });
      await gate.guard().check(exchange);
      const { principal, issuer } = exchange.state.facts.auth!;
      const keys: [string, QuotaKey][] = [
        ["user", principal],
        ["key", "k-1"],
        ["tenant", { issuer, value: "acme" }],
        ["route", [principal, "a b"]],
      ];
      for (const [policy, key] of keys) expect((await gate.quotas.peek(policy, key)).consumed, policy).to.equal(1);
      const busiest = await Promise.all(keys.map(([policy]) => gate.quotas.busiest({ policy })));
      expect(busiest.map((found) => found[0]?.key)).to.deep.equal([principal, undefined, undefined, undefined]);
      for (const [index, [policy]] of keys.entries()) {
        const { partition } = busiest[index]![0]!;
        expect((await gate.quotas.peek(policy, { partition })).consumed, policy).to.equal(1);
      }
    });

    it("knows policies of gate.limit() too", async () => {
      const gate = open([]);
      const limit = gate.limit({ name: "search", per: "ip", limit: 5, window: "1m" });
      await limit.check(fakeExchange({ ip: address }));
      expect((await gate.quotas.peek("search", address)).consumed).to.equal(1);
    });

    it("refuses arguments that would do nothing, or something else", async () => {
      const gate = open([perAddress, { name: "two", per: ["ip", "user"], limit: 5, window: "1m" }]);
      const { quotas } = gate;
      const wrong: [string, () => Promise<unknown>, RegExp][] = [
        ["an unknown policy", () => quotas.peek("nope", address), /must be one of "ip", "two"/],
        ["no address", () => quotas.peek("ip", "alice"), /IP address/],
        ["an empty key", () => quotas.peek("ip", ""), /non-empty/],
        ["a key that is an object", () => quotas.peek("ip", {} as never), /non-empty/],
        ["a key that is undefined", () => quotas.peek("ip", undefined as never), /non-empty/],
        ["too few parts", () => quotas.reset("two", address), /2 values/],
        [
          "a made-up partition",
          () => quotas.reset("ip", { partition: "*{x}" }),
          /busiest\(\), overrides\(\) or blocks\(\) returned/,
        ],
        ["no duration", () => quotas.block("ip", address, {} as never), /duration/],
        ["a block for ever", () => quotas.block("ip", address, { for: "1000d" }), /duration/],
        ["nothing to override", () => quotas.setOverride("ip", {}), /needs a limit or a window/],
        ["half a limit", () => quotas.setOverride("ip", { limit: 0.5 }), /whole number/],
        ["a window of half a second", () => quotas.setOverride("ip", address, { window: "500ms" }), /whole seconds/],
        ["a mistyped option", () => quotas.setOverride("ip", address, { limmit: 1 } as never), /did you mean limit/],
        ["more than may be told", () => quotas.busiest({ policy: "ip", limit: 1000 }), /from 1 to 100/],
      ];
      for (const [what, call, message] of wrong) {
        const failure: unknown = await rejectionOf(call());
        expect(failure, what).to.be.instanceOf(Error);
        expect((failure as Error).message, what).to.match(message);
      }
      expect(await visit(gate)).to.equal(200);
    });

    it("tells limit, remaining and blocked also where functions decide, by facts that it is given", async () => {
      const gate = open(
        [
          { name: "plan", per: "user", limit: (_raw, { auth }) => (auth?.claims.paid === true ? 9 : 3), window: "1m" },
          {
            ...{ name: "bucket", per: "user", algorithm: "token-bucket", window: () => "1m" },
            ...{ limit: (raw) => ((raw as unknown) === undefined ? 4 : 8), burst: () => 6 },
          },
        ],
        { auth: testAuth },
      );
      const token = await signToken({ sub: "alice", paid: true });
      const exchange = fakeExchange({ headers: { authorization: `Bearer ${token}` } });
      await gate.guard().check(exchange);
      const { facts } = exchange.state;
      const plan = await gate.quotas.peek("plan", "alice", { facts });
      expect(plan).to.include({ limit: 9, remaining: 8, consumed: 1, windowSeconds: 60, blocked: false });
      expect(await gate.quotas.peek("plan", "alice", {})).to.include({ limit: 3, remaining: 2 });
      const bucket = await gate.quotas.peek("bucket", "alice", { facts });
      expect(bucket).to.include({ limit: 4, remaining: 5, windowSeconds: 60 });
      expect(await gate.quotas.peek("bucket", "alice", { request: 1 })).to.include({ limit: 8 });
      await gate.quotas.block("plan", "alice", { for: "1h" });
      expect(await gate.quotas.peek("plan", "alice", { facts })).to.include({ limit: 9, remaining: 0, blocked: true });
      await gate.quotas.setOverride("plan", "alice", { limit: 20 });
      expect(await gate.quotas.peek("plan", "alice", { facts })).to.include({ limit: 20 });
      expect(await rejectionOf(gate.quotas.peek("plan", "alice", { fact: 1 } as never))).to.be.instanceOf(TypeError);
    });

    it("lists overrides and blocks in force, in parts, each as a key that it accepts", async () => {
      const gate = open([perAddress, { name: "two", per: ["ip"], limit: 5, window: "1m" }]);
      const { quotas } = gate;
      expect(await quotas.overrides()).to.deep.equal({ items: [], next: undefined });
      await quotas.setOverride("ip", { limit: 9 });
      for (let index = 1; index <= 4; index += 1)
        await quotas.setOverride("ip", `203.0.113.${index}`, { limit: index, window: "2m", for: "1h" });
      await quotas.setOverride("two", { window: "2m" });
      await quotas.block("ip", address, { for: "10m" });
      await quotas.block("two", address, { for: "10m" });
      await quotas.block("ip", "203.0.113.9", { for: "1ms" });
      await new Promise((resolve) => setTimeout(resolve, 10));
      const seen: (readonly [string, number | undefined])[] = [];
      let cursor: string | undefined;
      let parts = 0;
      do {
        const { items, next } = await quotas.overrides({ limit: 2, cursor });
        for (const { policy, limit, partition } of items) {
          seen.push([policy, limit]);
          if (partition !== undefined) expect((await quotas.peek(policy, { partition })).limit).to.equal(limit);
        }
        cursor = next;
        parts += 1;
      } while (cursor !== undefined);
      expect(parts).to.equal(3);
      const wanted = [
        ["ip", 9],
        ["ip", 1],
        ["ip", 2],
        ["ip", 3],
        ["ip", 4],
        ["two", undefined],
      ];
      expect(seen).to.have.deep.members(wanted);
      expect((await quotas.overrides({ policy: "two" })).items).to.deep.equal([
        {
          policy: "two",
          partition: undefined,
          key: undefined,
          limit: undefined,
          windowSeconds: 120,
          remainingSeconds: undefined,
        },
      ]);
      const { items: blocks } = await quotas.blocks();
      expect(blocks.map(({ policy }) => policy)).to.deep.equal(["ip", "two"]);
      expect(blocks[0]?.remainingSeconds).to.be.within(590, 600);
      expect(await visit(gate)).to.equal(429);
      await quotas.unblock("ip", { partition: blocks[0]!.partition });
      await quotas.unblock("two", { partition: blocks[1]!.partition });
      expect(await visit(gate)).to.equal(200);
      for (const wrong of [{ cursor: "x" }, { cursor: 7 }, { limit: 0 }, { policy: "nope" }, { offset: 1 }])
        expect(await rejectionOf(quotas.overrides(wrong as never)), JSON.stringify(wrong)).to.be.instanceOf(Error);
    });

    it("refuses to peek where only a request can tell", async () => {
      const gate = open([{ name: "plan", per: "ip", limit: () => 5, window: "1m", algorithm: "token-bucket" }]);
      const failure: unknown = await rejectionOf(gate.quotas.peek("plan", address));
      expect(failure).to.be.instanceOf(TypeError);
    });

    if (where === "redis") {
      it("reaches every process within a second, and survives their start", async () => {
        const limits = [{ ...perAddress, limit: 1_000_000 }];
        const [one, other] = [open(limits), open(limits)];
        expect([await visit(one), await visit(other)]).to.deep.equal([200, 200]);
        await one.quotas.block("ip", address, { for: "1h" });
        const since = performance.now();
        await until(async () => (await visit(other)) === 429);
        // The promise is a second; ten times that for a machine that others use.
        expect(performance.now() - since).to.be.below(10_000);
        const third = open(limits);
        await until(async () => (await visit(third)) === 429);
        await other.quotas.unblock("ip", address);
        await until(async () => (await visit(one)) === 200);
      });

      it("blocks leased quotas too, points that are held or not", async () => {
        const gate = open([{ ...perAddress, limit: 10_000, precision: "leased" }]);
        for (let index = 0; index < 20; index += 1) {
          await visit(gate);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        await gate.quotas.block("ip", address, { for: "1h" });
        expect(await visits(gate, 3)).to.deep.equal([429, 429, 429]);
      });

      it("keeps no address and no key in Redis", async () => {
        const gate = open([{ ...perAddress, limit: 1000 }]);
        await visit(gate);
        await gate.quotas.busiest({ policy: "ip" });
        await gate.quotas.block("ip", address, { for: "1h" });
        await gate.quotas.setOverride("ip", address, { limit: 1 });
        const keys = await redis.keys(`${prefix}*`);
        expect(keys.length).to.be.at.least(4);
        for (const key of keys) {
          expect(await redis.pttl(key), key).to.be.greaterThan(0);
          const type = await redis.type(key);
          const value =
            type === "hash"
              ? JSON.stringify(await redis.hgetall(key))
              : type === "zset"
                ? JSON.stringify(await redis.zrange(key, "0", "-1"))
                : await redis.get(key);
          expect(`${key} ${String(value)}`).to.not.include(address);
        }
      });
    }
  });
}
