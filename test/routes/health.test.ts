import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { openGate } from "../support/fake-gate.js";
import { describeOnEveryFramework } from "../support/every-gate.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import type { AnyOptions } from "../support/app.js";
import { adapters } from "../support/app.js";

const operators = { headers: { "x-operator": "yes" } };

describeOnEveryFramework("routes.health()", (start) => {
  it("tells liveness and readiness, before the guard, and drains", async () => {
    const { url, gate } = await start({}, { use: (own) => [own.routes.health(), own.guard()] });
    expect((await send(`${url}/healthz`)).json).to.deep.equal({ status: "up" });
    await send(`${url}/me`, { token: await signToken() });
    const ready = await send(`${url}/readyz?now`);
    expect([ready.status, ready.headers["cache-control"]]).to.deep.equal([200, "no-store"]);
    expect((await send(`${url}/readyz`, { method: "HEAD" })).status).to.equal(200);
    expect((await send(`${url}/readyz`, { method: "POST" })).status).to.equal(401);
    gate.drain();
    const draining = await send(`${url}/readyz`);
    expect([draining.status, (draining.json as { status: string }).status]).to.deep.equal([503, "draining"]);
    expect((await send(`${url}/healthz`)).status).to.equal(200);
    // Whoever still comes is served.
    expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(200);
  });

  it("tells strangers the status and nothing else", async () => {
    const { url, gate } = await start({}, { use: (own) => [own.routes.health(), own.guard()] });
    await gate.examine();
    expect((await send(`${url}/healthz`)).text).to.equal('{"status":"up"}');
    expect((await send(`${url}/readyz`)).text).to.equal('{"status":"up"}');
    gate.drain();
    expect((await send(`${url}/readyz`)).text).to.equal('{"status":"draining"}');
  });

  it("tells the state of each dependency to those who may know it", async () => {
    const asked: unknown[] = [];
    const options = {
      all: true,
      some: ({ headers }: { headers: Record<string, unknown> }) => {
        asked.push(headers["x-operator"]);
        return headers["x-operator"] === "yes" ? true : ("no" as unknown as boolean);
      },
      late: () => Promise.resolve(true),
      none: false,
    };
    for (const [what, details] of Object.entries(options)) {
      const { url, gate } = await start({}, { use: (own) => [own.routes.health({ details }), own.guard()] });
      await gate.examine();
      const { store } = gate.health();
      const whole = { status: "up", dependencies: { store, keys: { status: "up" } } };
      const [stranger, operator] = [await send(`${url}/readyz`), await send(`${url}/readyz`, operators)];
      expect(stranger.json, what).to.deep.equal(what === "all" || what === "late" ? whole : { status: "up" });
      expect(operator.json, what).to.deep.equal(what === "none" ? { status: "up" } : whole);
      expect((await send(`${url}/healthz`, operators)).json, what).to.deep.equal({ status: "up" });
    }
    expect(asked).to.deep.equal([undefined, "yes"]);
  });

  it("stays ready where the function that decides about details fails", async () => {
    const fails: readonly (() => boolean | Promise<boolean>)[] = [
      () => {
        throw new Error("of the application");
      },
      () => Promise.reject(new Error("of the application")),
    ];
    for (const details of fails) {
      const { url, gate } = await start({}, { use: (own) => [own.routes.health({ details }), own.guard()] });
      await gate.examine();
      const answer = await send(`${url}/readyz`);
      expect([answer.status, answer.json]).to.deep.equal([200, { status: "up" }]);
    }
  });

  it("answers at other paths, if told so", async () => {
    const { url, gate: own } = await start(
      {},
      { use: (gate) => [gate.routes.health({ livenessPath: "/live", readinessPath: "/ready" }), gate.guard()] },
    );
    // Until it is connected it is not ready.
    await own.examine();
    const statuses = await Promise.all(
      ["/live", "/ready", "/healthz", "/readyz"].map(async (path) => (await send(`${url}${path}`)).status),
    );
    expect(statuses).to.deep.equal([200, 200, 401, 401]);
  });
});

describeOnEveryFramework("routes.metrics()", (start) => {
  it("tells counters as Prometheus reads them, without a word of a user", async () => {
    const { url, gate } = await start({}, { use: (own) => [own.routes.metrics(), own.guard()] });
    const token = await signToken({ sub: "very-secret-alice", jti: "very-secret-jti" });
    await send(`${url}/me`, { token });
    await send(`${url}/me`);
    await send(`${url}/me`, { token: "very-secret-token" });
    const { status, headers, text } = await send(`${url}/metrics`);
    expect(status).to.equal(200);
    expect(headers["content-type"]).to.equal("text/plain; version=0.0.4; charset=utf-8");
    expect(text).to.match(
      /^# HELP portcullis_allowed_total .+\n# TYPE portcullis_allowed_total counter\nportcullis_allowed_total\{gate="[^"]+"\} \d+$/m,
    );
    const named = `gate="${gate.name}"`;
    expect(text).to.include(`portcullis_denied_total{${named},code="credentials_required"} 1\n`);
    expect(text).to.include(`portcullis_denied_total{${named},code="token_invalid"} 1\n`);
    expect(text).to.include(`portcullis_up{${named}} 1\n`);
    expect(text).to.include(`portcullis_dependency_up{${named},dependency="store"} 1\n`);
    if (gate.health().store.kind === "redis") {
      expect(text).to.match(
        /portcullis_store_questions_total\{gate="[^"]+",store="security",outcome="answered"\} [1-9]/,
      );
      expect(text).to.match(
        /portcullis_store_call_duration_seconds_bucket\{gate="[^"]+",store="security",le="\+Inf"\} [1-9]/,
      );
    }
    expect(text).not.to.include("very-secret");
    for (const line of text.trimEnd().split("\n"))
      expect(line).to.match(/^(# (HELP|TYPE) \S+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+)$/);
  });
});

describe("the options of health() and metrics()", () => {
  it("are checked at start-up", async () => {
    const gate = openGate({});
    for (const wrong of [
      { livenessPath: "healthz" },
      { readinessPath: "/a b" },
      { path: "/x" },
      { livenessPath: "/readyz" },
      { details: "yes" as never },
      { details: null as never },
    ])
      expect(() => gate.routes.health(wrong), JSON.stringify(wrong)).to.throw(TypeError, /health\(\)/);
    for (const wrong of [{ path: "metrics" }, { path: "//" }, { path: 7 }, { paths: "/x" }])
      expect(() => gate.routes.metrics(wrong as never), JSON.stringify(wrong)).to.throw(TypeError, /metrics\(\)/);
    await gate.close();
  });
});

for (const adapter of adapters) {
  describe(`with Redis away, on ${adapter.name}`, () => {
    /** An address that nobody listens at. */
    async function deadRedis(): Promise<string> {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as AddressInfo;
      await new Promise((resolve) => server.close(resolve));
      return `redis://127.0.0.1:${port}`;
    }

    async function readiness(options: Partial<AnyOptions>): Promise<number> {
      const app = await adapter.start({
        options: { redis: await deadRedis(), logger: silentLogger, ...options },
        use: (gate) => [gate.routes.health(), gate.guard()],
        routes: {},
      });
      const { status } = await send(`${app.url}/readyz`);
      expect((await send(`${app.url}/healthz`)).status).to.equal(200);
      await app.close();
      return status;
    }

    it("a process is not ready where protected requests are refused, and ready where they are not", async () => {
      expect(await readiness({ auth: testAuth })).to.equal(503);
      expect(await readiness({ auth: testAuth, revocation: { onStoreError: { graceMs: 1000 } } })).to.equal(503);
      expect(await readiness({ auth: testAuth, revocation: { onStoreError: "allow" } })).to.equal(200);
      expect(await readiness({ auth: testAuth, revocation: false })).to.equal(200);
      const limit = { name: "ip", per: "ip", limit: 5, window: "1m" } as const;
      expect(await readiness({ limits: [limit] })).to.equal(200);
      expect(await readiness({ limits: [{ ...limit, onStoreError: "deny" }] })).to.equal(503);
      const dpop = { publicUrl: "https://api.example.com", auth: { ...testAuth, dpop: true } };
      expect(await readiness({ ...dpop, revocation: { onStoreError: "allow" } })).to.equal(503);
    });

    it("each middleware may have a policy of its own, and each decision is counted", async () => {
      const app = await adapter.start({
        options: { redis: await deadRedis(), logger: silentLogger, auth: testAuth },
        use: (gate) => [
          gate.when({ path: "/open" }, gate.guard({ onStoreError: "allow" })),
          gate.unless({ path: "/open" }, gate.authenticate()),
        ],
        routes: { "GET /open": () => ({}), "GET /shut": () => ({}) },
      });
      const token = await signToken();
      expect((await send(`${app.url}/open`, { token })).status).to.equal(200);
      expect((await send(`${app.url}/open`)).status).to.equal(401);
      expect((await send(`${app.url}/shut`, { token })).status).to.equal(503);
      const counted = app.gate.metrics().find(({ name }) => name === "portcullis_degraded_total");
      const outcomes = counted?.samples.map(({ labels, value }) => [labels.policy, labels.outcome, value]);
      expect(outcomes).to.deep.equal([
        ["allow", "allowed", 1],
        ["deny", "denied", 1],
      ]);
      await app.close();
    });
  });
}

describe("onStoreError of a middleware", () => {
  it("is checked at start-up", async () => {
    const gate = openGate({ auth: testAuth });
    for (const wrong of ["local", "", null, 7, {}, { graceMs: 0 }, { grace: 5 }]) {
      expect(() => gate.guard({ onStoreError: wrong as never }), JSON.stringify(wrong)).to.throw(/onStoreError/);
      expect(() => gate.authenticate({ onStoreError: wrong as never }), JSON.stringify(wrong)).to.throw(/onStoreError/);
    }
    await gate.close();
  });
});
