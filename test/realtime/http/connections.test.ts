import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Auth, ConnectionEnd } from "@portcullis/core";
import { ConnectionLimitError, DenialError } from "@portcullis/core";
import { nowSeconds, signToken, startRedis, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { admit, openGate } from "../../support/fake-gate.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { connect, openIssuer, signIn, watch } from "../support/connections.js";
import { withoutGate } from "../../support/without-gate.js";

for (const [name, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`open connections, ${name}`, function () {
    this.timeout(30_000);

    const options = (): { redis: string; prefix: string; auth: typeof testAuth; deadline: number } => ({
      redis: redis(),
      prefix: freshPrefix(),
      auth: testAuth,
      deadline: 2000,
    });

    describe("with revocation", () => {
      let gate: FakeGate;
      beforeEach(() => {
        gate = openGate(options());
      });

      it("end when their token was revoked, and others stay", async () => {
        const [one, other] = [await connect(gate, { jti: "a" }), await connect(gate, { jti: "b" })];
        await gate.revocations.revoke(one.connection.auth);
        expect(await one.ended).to.equal("revoked");
        expect(one.connection.isOpen).to.equal(false);
        expect([other.reasons, gate.connections.open]).to.deep.equal([[], 1]);
      });

      it("end when a token without jti was revoked, which no event names", async () => {
        const one = await connect(gate, { jti: undefined });
        await gate.revocations.revoke(one.connection.auth);
        expect(await one.ended).to.equal("revoked");
      });

      it("end when all tokens of their user were cut off, but not with a token that was issued later", async () => {
        const [one, other] = [await connect(gate), await connect(gate, { sub: "bob" })];
        const later = await connect(gate, { iat: nowSeconds() + 4 });
        await gate.revocations.revokeSubject("alice");
        expect(await one.ended).to.equal("session_ended");
        // Within the margin for the clock of the issuer.
        expect(await later.ended).to.equal("session_ended");
        expect(other.reasons).to.deep.equal([]);
        const anew = await connect(gate, { iat: nowSeconds() + 4, sub: "bob" });
        expect(anew.reasons).to.deep.equal([]);
      });

      it("end within half a second and a round trip if the token was revoked before they were watched", async () => {
        const auth = await admit(gate, await signToken());
        await gate.revocations.revoke(auth);
        const { ended, reasons } = watch(gate, auth);
        expect(reasons, "before watch() has returned").to.deep.equal([]);
        expect(await ended).to.equal("revoked");
      });

      it("are told once, however often their token is revoked", async () => {
        const one = await connect(gate);
        await gate.revocations.revoke(one.connection.auth);
        await one.ended;
        await gate.revocations.revokeSubject("alice");
        await gate.close();
        expect(one.reasons).to.deep.equal(["revoked"]);
      });

      it("are not told once they have closed by themselves, and end() may be called again", async () => {
        const one = await connect(gate);
        one.connection.end();
        one.connection.end();
        await gate.revocations.revoke(one.connection.auth);
        await gate.close();
        expect([one.reasons, gate.connections.open, one.connection.isOpen]).to.deep.equal([[], 0, false]);
      });

      it("go on with another token of their user, and then end with that one", async () => {
        const one = await connect(gate);
        const first = one.connection.auth;
        const next = await admit(gate, await signToken());
        one.connection.renew(next);
        expect(one.connection.auth).to.equal(next);
        await gate.revocations.revoke(first);
        const witness = await connect(gate);
        await gate.revocations.revoke(witness.connection.auth);
        await witness.ended;
        expect(one.reasons).to.deep.equal([]);
        await gate.revocations.revoke(next);
        expect(await one.ended).to.equal("revoked");
        // An ended connection stays ended.
        one.connection.renew(await admit(gate, await signToken()));
        expect([one.connection.isOpen, gate.connections.open]).to.deep.equal([false, 0]);
      });

      it("refuse a token of another user, and go on with their own", async () => {
        const one = await connect(gate);
        const [bob, nobody] = [await signToken({ sub: "bob" }), await signToken({ sub: undefined })];
        for (const token of [bob, nobody]) {
          const auth = await admit(gate, token);
          expect(() => one.connection.renew(auth))
            .to.throw(DenialError)
            .with.property("code", "token_invalid");
        }
        expect(() => one.connection.renew(undefined as never)).to.throw(TypeError, "renew() needs the auth");
        expect([one.connection.isOpen, one.connection.auth.subject]).to.deep.equal([true, "alice"]);
        const anonymous = watch(gate, await admit(gate, nobody));
        const other = await admit(gate, await signToken({ sub: undefined }));
        expect(() => anonymous.connection.renew(other)).to.throw(DenialError);
      });

      it("end also if functions of the application throw, reject, or watch the next connection", async () => {
        const auth = await admit(gate, await signToken());
        const calls: string[] = [];
        gate.connections.watch(auth, () => {
          calls.push("throws");
          throw new Error("a bug");
        });
        const rejects: () => unknown = () => {
          calls.push("rejects");
          return Promise.reject(new Error("another bug"));
        };
        gate.connections.watch(auth, rejects);
        const bob = await admit(gate, await signToken({ sub: "bob" }));
        gate.connections.watch(auth, () => {
          calls.push("watches");
          watch(gate, bob);
        });
        const last = watch(gate, auth);
        await gate.revocations.revoke(auth);
        expect(await last.ended).to.equal("revoked");
        expect(calls).to.deep.equal(["throws", "rejects", "watches"]);
        expect(gate.connections.open).to.equal(1);
      });

      it("end at once when a connection with an ended token is watched from within onEnd", async () => {
        const auth = await admit(gate, await signToken());
        let again = 0;
        const reconnect = (): void => {
          again += 1;
          if (again < 5) gate.connections.watch(auth, reconnect);
        };
        gate.connections.watch(auth, reconnect);
        await gate.revocations.revoke(auth);
        await until(() => again === 5);
        expect(gate.connections.open).to.equal(0);
      });

      it("end when the gate closes, also those that are watched later", async () => {
        const one = await connect(gate);
        const auth = await admit(gate, await signToken());
        await gate.close();
        expect(one.reasons).to.deep.equal(["closed"]);
        const late = watch(gate, auth);
        expect(late.reasons).to.deep.equal([]);
        expect(await late.ended).to.equal("closed");
        expect(gate.connections.open).to.equal(0);
      });

      it("leave the process running when onEnd watches again although the gate is closed", async () => {
        const auth = await admit(gate, await signToken());
        let count = 0;
        const again = (): void => {
          count += 1;
          if (count < 10_000) gate.connections.watch(auth, again);
        };
        gate.connections.watch(auth, again);
        await gate.close();
        await new Promise((resolve) => setTimeout(resolve, 1));
        expect(count).to.be.within(1, 9999);
        count = 10_000;
      });

      it("stay when the gate drains", async () => {
        const one = await connect(gate);
        gate.drain();
        await new Promise((resolve) => setImmediate(resolve));
        expect(one.reasons).to.deep.equal([]);
      });

      it("are counted by kind and reason, and published without anything about the user", async () => {
        const seen: unknown[] = [];
        const note = (message: unknown): void => void seen.push(message);
        subscribe("portcullis:connection", note);
        try {
          const auth = await admit(gate, await signToken());
          const [one, two] = [watch(gate, auth, { kind: "sse" }), watch(gate, auth, { kind: "socket.io" })];
          one.connection.end();
          await gate.revocations.revoke(auth);
          await two.ended;
          watch(gate, await admit(gate, await signToken({ sub: "bob" })));
        } finally {
          unsubscribe("portcullis:connection", note);
        }
        expect(samples(gate, "portcullis_connections")).to.deep.equal({ sse: 0, "socket.io": 0, other: 1 });
        const ends = { "sse left": 1, "socket.io revoked": 1 };
        expect(samples(gate, "portcullis_connections_ended_total")).to.deep.equal(ends);
        expect(seen.map(withoutGate)).to.deep.equal([
          { kind: "sse", outcome: "opened" },
          { kind: "socket.io", outcome: "opened" },
          { kind: "sse", outcome: "left" },
          { kind: "socket.io", outcome: "revoked" },
          { kind: "other", outcome: "opened" },
        ]);
      });
    });

    describe("of sessions", () => {
      let gate: FakeGate;
      beforeEach(() => {
        const { auth, ...rest } = options();
        gate = openIssuer({ ...rest, auth: { issuer: auth.issuer, audience: auth.audience } });
      });

      it("end with their session, whichever way it ends", async () => {
        type End = (auth: Auth) => Promise<unknown>;
        const ends: Record<string, End> = {
          revoke: (auth) => gate.sessions.revoke(auth, auth.sessionId ?? ""),
          "revoke all": (auth) => gate.sessions.revokeAll(auth),
        };
        for (const [what, end] of Object.entries(ends)) {
          const user = watch(gate, await signIn(gate));
          const other = watch(gate, await signIn(gate, "bob"));
          await end(user.connection.auth);
          expect(await user.ended, what).to.equal("session_ended");
          expect(other.reasons, what).to.deep.equal([]);
        }
      });

      it("end when the other sessions of the user are ended, and the own one stays", async () => {
        const [own, other] = [watch(gate, await signIn(gate)), watch(gate, await signIn(gate))];
        await gate.sessions.revokeOthers(own.connection.auth);
        expect(await other.ended).to.equal("session_ended");
        expect(own.reasons).to.deep.equal([]);
      });

      it("end with their organisation", async () => {
        const [member, stranger] = [
          watch(gate, await signIn(gate, "alice", "acme")),
          watch(gate, await signIn(gate, "bob", "other")),
        ];
        await gate.sessions.revokeGroup("acme");
        expect(await member.ended).to.equal("session_ended");
        expect(stranger.reasons).to.deep.equal([]);
      });
    });

    describe("and time", () => {
      it("end at the exp of their token, from which on requests are refused too", async () => {
        const gate = openGate(options());
        const exp = nowSeconds() + 2;
        const [one, later] = [await connect(gate, { exp }), await connect(gate)];
        expect(await one.ended).to.equal("expired");
        expect(Date.now()).to.be.within(exp * 1000, exp * 1000 + 1000);
        expect(later.reasons).to.deep.equal([]);
      });

      it("end soon with a token that has expired since it was verified, but never before watch() has returned", async () => {
        const gate = openGate(options());
        const exp = nowSeconds() + 1;
        const auth = await admit(gate, await signToken({ exp }));
        await until(() => Date.now() >= exp * 1000);
        const one = watch(gate, auth);
        expect(one.reasons).to.deep.equal([]);
        expect(await one.ended).to.equal("expired");
      });

      it("end when their token is as old as auth.maxTokenAge allows", async () => {
        const gate = openGate({ ...options(), auth: { ...testAuth, maxTokenAge: "10s" } });
        const one = await connect(gate, { iat: nowSeconds() - 9 });
        expect(await one.ended).to.equal("expired");
      });

      it("stay for a token that is valid for longer than a timer of Node can run", async () => {
        const warnings: Error[] = [];
        const note = (warning: Error): void => void warnings.push(warning);
        process.on("warning", note);
        const gate = openGate({ ...options(), auth: { ...testAuth, maxLifetime: "90d" } });
        const [one, witness] = [await connect(gate, { exp: nowSeconds() + 60 * 86_400 }), await connect(gate)];
        await gate.revocations.revoke(witness.connection.auth);
        await witness.ended;
        process.off("warning", note);
        expect([one.reasons, warnings]).to.deep.equal([[], []]);
      });

      it("follow the wall clock when it is set, unless that of Redis shows that it is wrong", async () => {
        const real = Date.now;
        let ahead = 0;
        Date.now = () => real() + ahead;
        try {
          const gate = openGate({ ...options(), revocation: name === "on Redis" ? {} : false });
          const [soon, late] = [
            await connect(gate, { exp: nowSeconds() + 60 }),
            await connect(gate, { exp: nowSeconds() + 7200 }),
          ];
          const short = await connect(gate, { exp: nowSeconds() + 2 });
          ahead = -3_600_000;
          await new Promise((resolve) => setTimeout(resolve, 600));
          expect([soon.reasons, late.reasons]).to.deep.equal([[], []]);
          if (name === "on Redis") expect(await short.ended).to.equal("expired");
          ahead = 3_600_000;
          if (name === "on Redis") {
            await new Promise((resolve) => setTimeout(resolve, 1200));
            expect(soon.reasons).to.deep.equal([]);
          } else {
            expect(await soon.ended).to.equal("expired");
            expect(await short.ended).to.equal("expired");
          }
          expect(late.reasons).to.deep.equal([]);
        } finally {
          Date.now = real;
        }
      });
    });

    describe("with limits", () => {
      it("are bounded for each user, and an ended one makes room", async () => {
        const gate = openGate({ ...options(), connections: { maxPerUser: 2 } });
        const tokens = await Promise.all([1, 2, 3].map(() => signToken()));
        const auths = await Promise.all(tokens.map((token) => admit(gate, token)));
        const [first] = auths.slice(0, 2).map((auth) => watch(gate, auth));
        const third = auths[2] as Auth;
        const error = errorOf(() => watch(gate, third));
        expect(error).to.be.instanceOf(ConnectionLimitError).and.to.be.instanceOf(DenialError);
        expect(error).to.include({ code: "connection_limit", status: 429 });
        expect((error as ConnectionLimitError).denied).to.include({ allowed: false, status: 429 });
        expect((error as Error).message).not.to.include("alice");
        watch(gate, await admit(gate, await signToken({ sub: "bob" })));
        first?.connection.end();
        watch(gate, third);
        expect(gate.connections.open).to.equal(3);
        expect(samples(gate, "portcullis_connections_ended_total")).to.deep.equal({
          "other refused": 1,
          "other left": 1,
        });
      });

      it("are bounded for the process, and a renewal needs no room", async () => {
        const gate = openGate({ ...options(), connections: { maxPerProcess: 1 } });
        const one = await connect(gate);
        const bob = await admit(gate, await signToken({ sub: "bob" }));
        const error = errorOf(() => watch(gate, bob));
        expect(error).to.include({ code: "connection_capacity", status: 503 });
        expect((error as ConnectionLimitError).denied.headers.map(([field]) => field)).to.include("Retry-After");
        one.connection.renew(await admit(gate, await signToken()));
        await gate.revocations.revoke(one.connection.auth);
        await one.ended;
        watch(gate, bob);
      });

      it("count a token without a subject as a user of its own", async () => {
        const gate = openGate({ ...options(), connections: { maxPerUser: 1 } });
        await connect(gate, { sub: undefined });
        const second = await connect(gate, { sub: undefined });
        expect(() => watch(gate, second.connection.auth)).to.throw(ConnectionLimitError);
      });
    });

    it("without revocation end with the time of their token alone", async () => {
      const gate = openGate({ ...options(), revocation: false });
      // The tolerance of requests applies, since no record has to outlive the token.
      const one = await connect(gate, { exp: nowSeconds() - 4 });
      const two = await connect(gate);
      expect(await one.ended).to.equal("expired");
      expect([two.reasons, gate.connections.isDegraded]).to.deep.equal([[], false]);
    });

    it("are watched with the auth of this gate alone", async () => {
      const gate = openGate(options());
      const auth = await admit(gate, await signToken());
      const elsewhere = openGate({ ...options(), auth: { ...testAuth, issuer: "https://other.test" } });
      const foreign = await admit(elsewhere, await signToken({ iss: "https://other.test" }));
      const ignore = (): void => undefined;
      expect(() => gate.connections.watch(foreign, ignore)).to.throw(TypeError, /accepts?\b/);
      for (const wrong of [undefined, null, "token", {}, { ...auth, expiresAt: undefined }, { ...auth, token: "" }])
        expect(() => gate.connections.watch(wrong as never, ignore)).to.throw(TypeError, "needs the auth of a request");
      expect(() => gate.connections.watch(auth, undefined as never)).to.throw(TypeError, "must be a function");
      expect(() => gate.connections.watch(auth, ignore, { kind: "x" as never })).to.throw(TypeError, "must be one of");
      expect(() => gate.connections.watch(auth, ignore, { kin: "sse" } as never)).to.throw(
        TypeError,
        "did you mean kind?",
      );
      expect(gate.connections.open).to.equal(0);
      const open = openGate({ redis: "memory" });
      expect(() => open.connections.watch(auth, ignore)).to.throw(TypeError, "auth is required");
    });

    it("take no place, and keep the token that they have, for an auth whose records have no names", async () => {
      const gate = openGate({ ...options(), connections: { maxPerUser: 1 } });
      const auth = await admit(gate, await signToken({ sid: "s" }));
      const ignore = (): void => undefined;
      const wrong = [{ jti: 5 }, { jti: {} }, { sessionId: {} }, { claims: { org_id: {} } }];
      const auths = wrong.map((members, index) => ({ ...auth, token: `other ${index}`, ...members }) as Auth);
      for (const one of auths) expect(() => gate.connections.watch(one, ignore)).to.throw(TypeError);
      expect(gate.connections.open).to.equal(0);
      const kept = watch(gate, auth);
      for (const one of auths) expect(() => kept.connection.renew(one)).to.throw(TypeError);
      expect(kept.connection.auth).to.equal(auth);
      await gate.revocations.revoke(auth);
      expect(await kept.ended).to.equal("revoked");
      expect(gate.connections.open).to.equal(0);
    });

    it("take their options within bounds", () => {
      for (const [connections, message] of [
        [{ maxPerUser: 0 }, "connections.maxPerUser must be a whole number"],
        [{ maxPerProcess: 1.5 }, "connections.maxPerProcess must be a whole number"],
        [{ checkEvery: "20s" }, "connections.checkEvery must be a duration"],
        [{ checkEvery: 10 }, "connections.checkEvery"],
        [{ maxPerUsers: 1 }, "did you mean maxPerUser?"],
        [[], "connections must be an object"],
      ] as const)
        expect(() => openGate({ connections: connections as never }), message).to.throw(message);
    });
  });
}

describe("a gate without open connections", function () {
  this.timeout(30_000);

  it("has no timer for them, no subscription and no tracked key, before the first one and after the last", async () => {
    const prefix = freshPrefix();
    const url = testRedisUrl();
    const operator = operate(url);
    const gate = openGate({ redis: url, prefix, auth: testAuth, cache: false, deadline: 2000 });
    const auth = await admit(gate, await signToken());
    await gate.examine();
    const channels = async (): Promise<string[]> =>
      (await operator.call("PUBSUB", "CHANNELS", `${prefix}*`)) as string[];
    const sweeps = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    expect(await channels()).to.deep.equal([]);
    const idle = sweeps();
    const { connection } = watch(gate, auth);
    await until(async () => (await channels()).length === 1);
    connection.end();
    await until(async () => (await channels()).length === 0);
    // The heartbeat of the listening connection goes on.
    await until(() => sweeps() <= idle + 1);
  });

  it("asks about a thousand connections of one token once", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const gate = openGate({
      ...{ redis: redis.url, auth: testAuth, deadline: 2000 },
      connections: { maxPerUser: 1000 },
    });
    const auth = await admit(gate, await signToken({ sid: "s", org_id: "o" }));
    const reasons: ConnectionEnd[] = [];
    for (let count = 0; count < 1000; count += 1) gate.connections.watch(auth, (reason) => reasons.push(reason));
    const operator = operate(redis.url);
    await operator.call("CONFIG", "RESETSTAT");
    const asked = async (): Promise<number> =>
      Number(/cmdstat_exists:calls=(\d+)/.exec(await operator.info("commandstats"))?.[1] ?? 0);
    await until(async () => (await asked()) >= 2);
    expect(await asked()).to.be.below(20);
    await gate.revocations.revokeSubject("alice");
    await until(() => reasons.length === 1000);
  });
});

function samples(gate: FakeGate, metric: string): Record<string, number> {
  const found = gate.metrics().find(({ name }) => name === metric)?.samples ?? [];
  return Object.fromEntries(found.map(({ labels, value }) => [Object.values(withoutGate(labels)).join(" "), value]));
}

function errorOf(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
