import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { connect } from "node:net";
import { StoreFault } from "@portcullis/core";
import type { LoginAttempt, Metric } from "@portcullis/core";
import { testAudience, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import type { Middleware } from "koa";
import { allAdapters } from "../../support/app.js";
import type { AnyGate, AnyMiddleware, TestRequest } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { openLatch } from "../../support/latch.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { startLogin, statuses } from "../../support/login.js";
import type { LoginApp } from "../../support/login.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import { withoutGate } from "../../support/without-gate.js";

const times = (count: number, status: number): number[] => Array<number>(count).fill(status);
const tokens = { signingKey: testSecret, issuer: testIssuer, audience: testAudience } as const;

/** Gives a response its status, whichever framework's it is. */
function setStatus(request: TestRequest, status: number): void {
  const koa = request as unknown as { response?: { status: number } };
  const express = request as unknown as { res: { statusCode: number } };
  if (koa.response === undefined) express.res.statusCode = status;
  else koa.response.status = status;
}

/** A handler that answers so, and says nothing of what became of the attempt. */
const answering =
  (status: number, body: unknown = { welcome: true }) =>
  (request: TestRequest): unknown => {
    setStatus(request, status);
    return body;
  };

const isRight = (request: TestRequest): boolean => {
  const { headers } = (request as { req?: { headers: object } }).req ?? (request as unknown as { headers: object });
  return (headers as Record<string, string>)["x-password"] === "right";
};

const fail = (status: number): never => {
  throw Object.assign(new Error("a fault"), { status });
};

async function checksOf(count: number, app: LoginApp): Promise<number> {
  await statuses(count, () => app.attempt("alice"));
  return app.checks();
}

describeOnEveryFramework("the outcome of a sign-in attempt", (start) => {
  const wrongAnswers: Readonly<Record<string, unknown>> = {
    "an HTML form": "<p>Wrong user name or password</p><form>",
    GraphQL: { data: { login: null }, errors: [{ message: "wrong password" }] },
    "JSON-RPC": { jsonrpc: "2.0", id: 1, error: { code: -32000, message: "wrong password" } },
  };

  for (const [what, body] of Object.entries(wrongAnswers)) {
    it(`is no success for ${what} that answers 200 to a wrong password`, async () => {
      const app = await startLogin(start, {}, { answer: answering(200, body) });
      expect(await checksOf(30, app)).to.equal(5);
    });
  }

  for (const status of [201, 204, 302, 303, 404, 409, 418]) {
    it(`is unknown for a ${status} without a report: the attempt stays counted, no failure is forgotten`, async () => {
      const app = await startLogin(start, {}, { answer: answering(status, {}) });
      const seen = await statuses(7, () => app.attempt("alice"));
      expect(seen).to.deep.equal([...times(5, status), 429, 429]);
    });
  }

  it("is a success for a redirect if the handler reports it", async () => {
    const answer = async (request: TestRequest) => {
      if (!isRight(request)) return answering(302, {})(request);
      await request.loginAttempt?.succeed();
      return answering(302, {})(request);
    };
    const app = await startLogin(start, {}, { answer });
    await statuses(4, () => app.attempt("alice"));
    expect((await app.attempt("alice", { password: "right" })).status).to.equal(302);
    expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([...times(5, 302), 429]);
  });

  const successes: Readonly<Record<string, (attempt: LoginAttempt, gate: AnyGate) => unknown>> = {
    "succeed()": (attempt) => attempt.succeed(),
    "deviceCookie()": (attempt) => attempt.deviceCookie(),
    "deviceToken()": (attempt) => attempt.deviceToken(),
    "tokens.issue()": (attempt, gate) => gate.tokens.issue({ subject: "alice", attempt }),
  };

  for (const [what, say] of Object.entries(successes)) {
    it(`is a success by ${what}, whatever the status`, async () => {
      const answer = async (request: TestRequest, gate: AnyGate) => {
        if (!isRight(request)) fail(401);
        await say(request.loginAttempt as LoginAttempt, gate);
        return answering(401, {})(request);
      };
      const device = { secret: "device-secret-".padEnd(32, "0") };
      const app = await startLogin(start, { device }, { answer, options: { tokens } });
      await statuses(4, () => app.attempt("alice"));
      await app.attempt("alice", { password: "right" });
      expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([...times(5, 401), 429]);
    });
  }

  it("is a success at a limit of sessions, since the password was right", async () => {
    const answer = async ({ loginAttempt }: TestRequest, gate: AnyGate) =>
      (await gate.tokens.issue({ subject: "alice", attempt: loginAttempt })).response;
    const options = { tokens: { ...tokens, maxSessions: 1, onLimit: "refuse" } } as const;
    const app = await startLogin(start, {}, { answer, options });
    const seen = await statuses(9, () => app.attempt("alice"));
    expect(seen).to.deep.equal([200, ...times(8, 409)]);
  });

  for (const status of [500, 502, 503]) {
    it(`is no failure of the account's after a ${status}, but one of the address'`, async () => {
      const app = await startLogin(
        start,
        { ip: { limit: 12 }, accountLimit: { limit: 3 } },
        { answer: () => fail(status) },
      );
      const seen = await statuses(14, () => app.attempt("alice"));
      expect(seen).to.deep.equal([...times(12, status), 429, 429]);
      expect((await app.attempt("alice", { from: "192.0.2.2" })).status).to.equal(status);
    });
  }

  it("is a failure after a fault if the handler has said so first", async () => {
    const answer = async ({ loginAttempt }: TestRequest) => {
      await loginAttempt?.fail();
      fail(500);
    };
    const app = await startLogin(start, {}, { answer });
    expect(await checksOf(20, app)).to.equal(5);
  });

  it("is a success by a 2xx if the option says so", async () => {
    const answer = (request: TestRequest) => (isRight(request) ? { welcome: true } : fail(401));
    const app = await startLogin(start, { outcome: "status" }, { answer });
    await statuses(4, () => app.attempt("alice"));
    expect((await app.attempt("alice", { password: "right" })).status).to.equal(200);
    expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([...times(5, 401), 429]);
  });

  it("is the result of a function, which gets the request and the status", async () => {
    const seen: [unknown, number][] = [];
    const app = await startLogin(
      start,
      {
        outcome: ({ headers }, _facts, status) => {
          seen.push([headers["x-password"], status]);
          return headers["x-password"] === "right"
            ? "succeeded"
            : headers["x-password"] === "none"
              ? "unchecked"
              : "failed";
        },
      },
      { answer: answering(200) },
    );
    await statuses(4, () => app.attempt("alice"));
    await app.attempt("alice", { password: "right" });
    await statuses(8, () => app.attempt("alice", { password: "none" }));
    expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([...times(5, 200), 429]);
    expect(seen.slice(0, 5)).to.deep.equal([...Array<unknown>(4).fill(["wrong", 200]), ["right", 200]]);
  });

  it("stays counted if that function throws or returns no outcome, and the process goes on", async () => {
    for (const outcome of [() => fail(500), () => "yes", () => Promise.reject(new Error("no")), () => true]) {
      const app = await startLogin(start, { outcome: outcome as never }, { answer: answering(200) });
      expect(await checksOf(8, app)).to.equal(5);
    }
  });

  it("is one for each of parallel guesses: no number of them gets past the limit", async () => {
    for (const answer of [answering(200), answering(302, {}), () => fail(401)]) {
      const app = await startLogin(start, {}, { answer });
      await Promise.all(Array.from({ length: 40 }, () => app.attempt("alice")));
      expect(app.checks()).to.equal(5);
    }
  });

  it("belongs to the account that the application has found: its place and its device are known", async () => {
    const answer = async (request: TestRequest) => {
      const attempt = request.loginAttempt;
      if (!isRight(request)) fail(401);
      await attempt?.succeed({ account: "Alice" });
      return { device: attempt?.trustedDevice, cookie: attempt?.deviceCookie() };
    };
    const device = { secret: "device-secret-".padEnd(32, "0") };
    const app = await startLogin(start, { device, accountLimit: { limit: 4 } }, { answer });
    const first = await app.attempt("alice@example.com", { password: "right" });
    const headers = { cookie: (first.json as { cookie: string }).cookie.split(";")[0] ?? "" };
    await statuses(8, (index) => app.attempt("alice", { from: `203.0.113.${index}` }));
    expect((await app.attempt("alice", { from: "203.0.113.99" })).status).to.equal(429);
    expect((await app.attempt("alice")).status, "the place is known").to.equal(401);
    const trusted = await app.attempt("alice", { password: "right", from: "203.0.113.98", headers });
    expect(trusted.json).to.include({ device: true });
  });

  it("is no success if the application names no account, but something else", async () => {
    const answer = async ({ loginAttempt }: TestRequest) => loginAttempt?.succeed({ account: 7 as unknown as string });
    const app = await startLogin(start, {}, { answer });
    expect((await app.attempt("alice")).status).to.equal(500);
  });

  it("is not known under another spelling: the limit of an account holds for all of them together", async () => {
    const forms = [
      "a\u00e0\u00e1\u00e2\u0101",
      "l\u013a\u0142",
      "i\u00ec\u00ed\u0131",
      "c\u00e7\u0107",
      "e\u00e8\u00e9\u0113",
    ];
    const spell = (index: number) =>
      forms.map((letters, place) => letters[Math.floor(index / 2 ** place) % letters.length]).join("");
    const app = await startLogin(start, { accountLimit: { limit: 10 }, ip: { limit: 1000 } });
    await statuses(60, (index) => app.attempt(spell(index), { from: `198.51.100.${index % 30}` }));
    expect(app.checks()).to.equal(11);
    const oneplace = await startLogin(start, { ip: { limit: 1000 } });
    await statuses(30, (index) => oneplace.attempt(spell(index)));
    expect(oneplace.checks(), "from one address").to.equal(5);
  });

  it("is forgotten in all spellings when an operator lets the account in again", async () => {
    const app = await startLogin(start, { accountLimit: { limit: 3 }, ip: { limit: 1000 } });
    await statuses(8, (index) => app.attempt("\u00e1lice", { from: `198.51.100.${index}` }));
    expect((await app.attempt("alice", { password: "right", from: "192.0.2.9" })).status).to.equal(429);
    await app.gate.logins.unblock({ account: "alice" });
    expect((await app.attempt("\u00e1lice", { from: "192.0.2.8" })).status).to.equal(401);
    expect((await app.attempt("alice", { password: "right", from: "192.0.2.9" })).status).to.equal(200);
  });

  it("is counted for each client behind a NAT64, and not for all of them together", async () => {
    const app = await startLogin(start, { ip: { limit: 3 } });
    await statuses(4, (index) => app.attempt(`user${index}`, { from: "64:ff9b::203.0.113.66" }));
    expect((await app.attempt("alice", { password: "right", from: "64:ff9b::192.0.2.1" })).status).to.equal(200);
    expect((await app.attempt("bob", { from: "203.0.113.66" })).status, "the same client by IPv4").to.equal(429);
  });
});

for (const adapter of allAdapters) {
  describe(`the outcome of a sign-in attempt on ${adapter.name}`, () => {
    const start: Parameters<typeof startLogin>[0] = async (options = {}, rest = {}) =>
      adapter.start({ options: { redis: "memory", logger: silentLogger, ...options }, routes: {}, ...rest });

    it("stays counted if the client goes away while its password is looked at, and nothing is forgotten", async () => {
      const held = openLatch();
      let ended = 0;
      const answer = async () => {
        await held.wait();
        ended += 1;
        return { welcome: true };
      };
      const app = await startLogin(start, { parallel: 10 }, { answer });
      const { port } = new URL(app.url);
      for (let index = 1; index <= 5; index += 1) {
        const socket = connect(Number(port), "127.0.0.1");
        socket.write('POST /login HTTP/1.1\r\nHost: a\r\nx-account: "alice"\r\nContent-Length: 0\r\n\r\n');
        await until(() => app.checks() === index);
        socket.destroy();
      }
      held.open();
      await until(() => ended === 5);
      expect((await app.attempt("alice", { from: "127.0.0.1" })).status).to.equal(429);
    });

    it("is logged once, without a name, if a 2xx says nothing, and counted each time", async () => {
      const said: string[] = [];
      const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void said.push(message) };
      const heard: unknown[] = [];
      const listen = (message: unknown): void => void heard.push(message);
      subscribe("portcullis:login", listen);
      cleanUp(() => unsubscribe("portcullis:login", listen));
      const app = await startLogin(start, { name: "shop" }, { answer: answering(200), options: { logger } });
      await statuses(3, () => app.attempt("alice"));
      await until(() => heard.length === 3);
      expect(withoutGate(heard[0])).to.deep.equal({ throttle: "shop", warning: "unsaid_success" });
      const ours = said.filter((message) => message.includes("throttleLogin()"));
      expect(ours).to.have.length(1);
      expect(ours[0]).to.match(/"shop".*succeed\(\).*tokens\.issue\(\{ attempt \}\).*outcome: "status"/);
      expect(ours[0]).to.not.include("alice");
      expect(warningsOf(app.gate.metrics())).to.deep.equal([{ throttle: "shop", warning: "unsaid_success", value: 3 }]);
    });

    it("is logged if one account succeeds more often than anybody signs in, and counted", async () => {
      const said: string[] = [];
      const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void said.push(message) };
      const answer = async ({ loginAttempt }: TestRequest) => loginAttempt?.succeed();
      const app = await startLogin(start, {}, { answer, options: { logger } });
      await statuses(20, () => app.attempt("alice"));
      expect(warningsOf(app.gate.metrics())).to.deep.equal([]);
      await statuses(10, () => app.attempt("alice"));
      expect(warningsOf(app.gate.metrics())).to.deep.equal([
        { throttle: "login", warning: "frequent_success", value: 1 },
      ]);
      const ours = said.filter((message) => message.includes("more than 20 times in a minute"));
      expect(ours).to.have.length(1);
      expect(ours[0]).to.not.include("alice");
    });
  });

  describe(`a right password on ${adapter.name} whose tokens cannot be issued`, () => {
    /** A store that cannot start a session of alice, and counts attempts as ever. */
    async function startFaulty(
      issue: (request: TestRequest, gate: AnyGate) => unknown,
      throttle: Parameters<typeof startLogin>[1] = {},
    ): Promise<LoginApp> {
      const prefix = freshPrefix();
      const redis = new Redis(testRedisUrl());
      cleanUp(() => redis.disconnect());
      const app = await startLogin(
        async (options = {}, rest = {}) =>
          adapter.start({
            options: { redis: testRedisUrl(), prefix, tokens, logger: silentLogger, deadline: 1000, ...options },
            routes: {},
            ...rest,
          }),
        throttle,
        { answer: (request, gate) => (isRight(request) ? issue(request, gate) : fail(401)) },
      );
      await app.gate.tokens.issue({ subject: "alice" });
      const [key = ""] = await redis.keys(`${prefix}portcullis:*:sessions:*`);
      expect(key).to.include("alice");
      await redis.set(key, "not a set", "EX", 600);
      return app;
    }

    const handlers: Readonly<Record<string, (request: TestRequest, gate: AnyGate) => unknown>> = {
      "by the framework's own error handler": async (_request, gate) => gate.tokens.issue({ subject: "alice" }),
      "by the framework's own error handler, with the attempt": async ({ loginAttempt }, gate) =>
        gate.tokens.issue({ subject: "alice", attempt: loginAttempt }),
      "by a handler that answers 401 to every error": async (request, gate) => {
        const { loginAttempt: attempt } = request;
        const issued = await gate.tokens.issue({ subject: "alice", attempt }).catch(() => undefined);
        return issued?.response ?? answering(401, {})(request);
      },
      "by a handler that answers 200 to every error": async (request, gate) => {
        const { loginAttempt: attempt } = request;
        return (await gate.tokens.issue({ subject: "alice", attempt }).catch(() => undefined))?.response ?? {};
      },
    };

    for (const [by, handle] of Object.entries(handlers)) {
      it(`does not lock its owner out, answered ${by}`, async () => {
        const app = await startFaulty(handle, { ip: { limit: 15 } });
        const right = () => app.attempt("alice", { password: "right" });
        const [status = 0] = await statuses(1, right);
        expect(await statuses(9, right)).to.deep.equal(times(9, status));
        // The pair has five attempts left, and the address has counted ten.
        expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([...times(5, 401), 429]);
      });
    }

    if (adapter.name.startsWith("Koa")) {
      it("allows for faults that leave the handler, whatever the application's error handler answers", async () => {
        const answerAll: Middleware = async (ctx, next) => {
          try {
            await next();
          } catch {
            ctx.status = 401;
          }
        };
        const app = await adapter.start({
          options: { redis: "memory", logger: silentLogger },
          use: (gate) => [answerAll as AnyMiddleware, gate.throttleLogin({ account: () => "alice" })],
          routes: {
            "POST /login": () => {
              throw new StoreFault("unreachable");
            },
          },
        });
        const seen = await statuses(10, () => send(`${app.url}/login`, { method: "POST" }));
        expect(seen).to.deep.equal(times(10, 401));
      });
    }

    it("lets nobody guess for ever by provoking faults: the address has counted them", async () => {
      const app = await startFaulty(() => fail(500), { ip: { limit: 8 } });
      const seen = await statuses(20, () => app.attempt("alice", { password: "right" }));
      expect(seen).to.deep.equal([...times(8, 500), ...times(12, 429)]);
    });

    it("lets nobody guess for ever on a trusted device either, which counts in the place of its address", async () => {
      const device = { secret: "device-secret-".padEnd(32, "0") };
      const answer = ({ loginAttempt }: TestRequest) =>
        loginAttempt?.trustedDevice === true ? fail(503) : { cookie: loginAttempt?.deviceCookie() };
      const app = await startFaulty(answer, { device, ip: { limit: 8 } });
      const first = await app.attempt("alice", { password: "right" });
      const headers = { cookie: (first.json as { cookie: string }).cookie.split(";")[0] ?? "" };
      const seen = await statuses(20, (index) =>
        app.attempt("alice", { password: "right", headers, from: `192.0.2.${index}` }),
      );
      expect(seen).to.deep.equal([...times(8, 503), ...times(12, 429)]);
    });

    it("is told from a request that makes no sense", async () => {
      const app = await startFaulty(() => undefined);
      for (const attempt of [{}, null, "x"]) {
        const refused = await rejectionOf(app.gate.tokens.issue({ subject: "bob", attempt: attempt as never }));
        expect(refused).to.be.instanceOf(TypeError);
        expect(String(refused)).to.include("attempt must be the loginAttempt of the request");
      }
    });
  });
}

function warningsOf(metrics: readonly Metric[]): unknown[] {
  const found = metrics.find(({ name }) => name === "portcullis_login_warnings_total");
  return (found?.samples ?? []).map(({ labels, value }) => ({ ...withoutGate(labels), value }));
}
