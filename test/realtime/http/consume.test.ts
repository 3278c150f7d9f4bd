import type { Auth, LimitOptions } from "@portcullis/core";
import { portcullis } from "@portcullis/express";
import type { ExpressGate, ExpressOptions } from "@portcullis/express";
import type { Request } from "express";
import { signToken, startRedis, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import type { IncomingMessage } from "node:http";
import { cleanUp, cleanUpInTest } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

type Limits = ExpressOptions["limits"];
const perUser = { name: "messages", per: "user", limit: 2, window: "1m" } as const;
const perAddress = { name: "handshakes", per: "ip", limit: 2, window: "1m" } as const;

function open(options: Partial<ExpressOptions> = {}): ExpressGate {
  const gate = portcullis({
    ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 2000, logger: silentLogger },
    auth: { ...testAuth, tokenFrom: ["header", { cookie: "session", origins: ["https://app.test"] }] },
    ...options,
  });
  cleanUpInTest(() => gate.close());
  return gate;
}

async function authOf(gate: ExpressGate, claims: Record<string, unknown> = {}): Promise<Auth> {
  const verified = await gate.verify(await signToken(claims));
  if (!verified.allowed) throw new Error(verified.cause);
  return verified.auth;
}

for (const [where, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`consume(), ${where}`, () => {
    function openHere(limits: Limits = []): ExpressGate {
      return open({ redis: redis(), limits });
    }

    it("counts events by the name of a limit of the gate, each user by itself, together with requests", async () => {
      const gate = openHere([perUser]);
      const [alice, bob] = [await authOf(gate), await authOf(gate, { sub: "bob" })];
      const first = await gate.consume("messages", { auth: alice });
      expect(first.allowed && first.quotas).to.have.length(1);
      expect(first.allowed && first.quotas[0]).to.include({ policy: "messages", limit: 2, remaining: 1 });
      expect((await gate.quotas.peek("messages", alice.principal)).consumed).to.equal(1);
      await gate.consume("messages", { auth: alice });
      const third = await gate.consume("messages", { auth: alice });
      expect(!third.allowed && [third.status, third.problem.code]).to.deep.equal([429, "quota_exceeded"]);
      expect(!third.allowed && third.headers.map(([name]) => name)).to.include("Retry-After");
      expect((await gate.consume("messages", { auth: bob })).allowed).to.equal(true);
      // No request was without an address.
      expect((await gate.examine()).map(({ code }) => code)).not.to.include("address_missing");
    });

    it("counts by a limit of its own, with a cost, and by the address", async () => {
      const gate = openHere();
      const own: LimitOptions<Request> = { name: "bytes", per: "ip", limit: 100, window: "1m" };
      const consume = async (address: string, cost?: number): Promise<boolean> =>
        (await gate.consume(own, { address, cost })).allowed;
      expect(await consume("192.0.2.1", 60)).to.equal(true);
      expect(await consume("192.0.2.1", 60)).to.equal(false);
      expect(await consume("192.0.2.1", 40)).to.equal(true);
      expect(await consume("192.0.2.1", 0)).to.equal(true);
      expect(await consume("192.0.2.1")).to.equal(false);
      expect(await consume("192.0.2.2", 100)).to.equal(true);
      expect((await gate.quotas.peek("bytes", "192.0.2.1")).consumed).to.equal(100);
    });

    it("passes functions of a limit the request, and ignores its condition about paths", async () => {
      const gate = openHere();
      const seen: unknown[] = [];
      const own: LimitOptions<Request> = {
        ...{ name: "rooms", limit: 1, window: "1m", when: { path: "/api" } },
        per: (raw, facts) => {
          seen.push([raw, facts.auth?.subject]);
          return "room";
        },
      };
      const request = { some: "socket" } as never;
      const auth = await authOf(gate);
      expect((await gate.consume(own, { auth, request })).allowed).to.equal(true);
      expect((await gate.consume(own, { auth, request })).allowed).to.equal(false);
      expect(seen[0]).to.deep.equal([request, "alice"]);
    });

    it("is a mistake of the application without a sender, or by a limit that waits for a response", async () => {
      const gate = openHere([perUser]);
      const auth = await authOf(gate);
      const base = { name: "x", per: "user", limit: 1, window: "1m" } as const;
      const mistakes: [limit: unknown, options: unknown, message: string][] = [
        ["nothing", { auth }, 'must be one of "messages"'],
        [5, { auth }, "takes the name of a limit or a limit, not number"],
        [null, { auth }, "not null"],
        ["messages", {}, "pass consume() the auth of the sender"],
        [perAddress, { auth }, "pass consume() the address of the sender"],
        [{ ...base, per: { header: "x" } }, { auth }, "pass consume() the address of the sender"],
        ["messages", { auth: { ...auth, principal: 5 } }, "must be the auth of a request"],
        ["messages", { auth: "token" }, "must be the auth of a request"],
        ["messages", { auth, cost: -1 }, "must be a whole number"],
        ["messages", { auth, adress: "x" }, "did you mean address?"],
        [{ ...base, limit: -1 }, { auth }, "consume().limit must be a whole number"],
        [{ ...base, countOnly: "failures" }, { auth }, "needs a response"],
        [{ name: "x", per: "user", limit: 1, algorithm: "concurrency" }, { auth }, "needs a response"],
      ];
      for (const [limit, options, message] of mistakes) {
        const error: unknown = await rejectionOf(gate.consume(limit as never, options as never));
        expect(error, message).to.be.instanceOf(Error);
        expect((error as Error).message).to.include(message);
      }
      expect((await gate.quotas.peek("messages", auth.principal)).consumed).to.equal(0);
    });
  });

  describe(`verify() of handshakes, ${where}`, () => {
    it("applies the limits of the gate on request, before the token is looked at", async () => {
      const gate = open({ redis: redis(), limits: [perAddress] });
      const headers = { authorization: `Bearer ${await signToken()}` };
      const request = { headers, socket: { remoteAddress: "192.0.2.1" } } as unknown as IncomingMessage;
      for (let count = 0; count < 5; count += 1) expect((await gate.verify(request)).allowed).to.equal(true);
      for (const allowed of [true, true, false]) {
        const verdict = await gate.verify(request, { limits: true });
        expect(verdict.allowed).to.equal(allowed);
        if (!verdict.allowed) expect(verdict.problem.code).to.equal("quota_exceeded");
      }
      // Behind a proxy the application knows the address.
      expect((await gate.verify(request, { limits: true, address: "192.0.2.9" })).allowed).to.equal(true);
    });

    it("requires the origin of a cookie whatever the method, if it is a handshake", async () => {
      const gate = open({ redis: redis() });
      const cookie = `session=${await signToken()}`;
      const verify = async (headers: object, handshake: boolean): Promise<string | undefined> => {
        const request = { method: "GET", headers: { cookie, ...headers } } as unknown as IncomingMessage;
        const verdict = await gate.verify(request, { handshake });
        return verdict.allowed ? undefined : verdict.problem.code;
      };
      expect(await verify({}, false)).to.equal(undefined);
      for (const headers of [
        {},
        { origin: "https://evil.test" },
        { origin: "null" },
        { "sec-fetch-site": "cross-site" },
      ])
        expect(await verify(headers, true), JSON.stringify(headers)).to.equal("origin_refused");
      for (const headers of [{ origin: "https://app.test" }, { "sec-fetch-site": "same-origin" }])
        expect(await verify(headers, true), JSON.stringify(headers)).to.equal(undefined);
    });

    it("checks its options", async () => {
      const gate = open({ redis: redis() });
      for (const [source, options, message] of [
        ["token", { limits: true }, "needs a request, not a token alone"],
        [{ headers: {} }, { limit: true }, "did you mean limits?"],
        [{ headers: {} }, { limits: "yes" }, "must be true or false"],
        [{ headers: {} }, { handshake: 1 }, "must be true or false"],
        [{ headers: {} }, { address: "" }, "must be a non-empty string"],
      ] as const) {
        const error: unknown = await rejectionOf(gate.verify(source as never, options as never));
        expect(error).to.be.instanceOf(TypeError).with.property("message").that.includes(message);
      }
    });
  });
}

describe("consume() while Redis is down", () => {
  it("counts in this process, lets pass or refuses, as the limit says", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const gate = open({ redis: redis.url, deadline: 100 });
    const auth = await authOf(gate);
    await redis.kill();
    const base = { per: "user", limit: 1, window: "1m" } as const;
    const local = { ...base, name: "local" } as const;
    expect((await gate.consume(local, { auth })).allowed).to.equal(true);
    expect((await gate.consume(local, { auth })).allowed).to.equal(false);
    const allow = { ...base, name: "allow", limit: 0, onStoreError: "allow" } as const;
    expect((await gate.consume(allow, { auth })).allowed).to.equal(true);
    const deny = { ...base, name: "deny", onStoreError: "deny" } as const;
    const refused = await gate.consume(deny, { auth });
    expect(!refused.allowed && refused.problem.code).to.equal("store_unavailable");
  });
});
