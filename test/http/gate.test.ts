import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { allAdapters } from "../support/app.js";
import type { AnyGate, AnyOptions, RunningApp, TestApp } from "../support/app.js";
import { send } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

const stores = [
  { name: "in process", redis: () => "memory" },
  { name: "on Redis", redis: testRedisUrl },
];

const routes: TestApp["routes"] = {
  "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, scopes: auth?.scopes ?? [], quotas }),
  "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
};

for (const adapter of allAdapters) {
  for (const { name, redis } of stores) {
    describe(`the gate on ${adapter.name} ${name}`, () => {
      const running: RunningApp[] = [];

      afterEach(async () => {
        for (const app of running.splice(0)) await app.close();
      });

      async function start(options: Partial<AnyOptions> = {}, rest: Partial<TestApp> = {}): Promise<RunningApp> {
        const app = await adapter.start({
          options: { redis: redis(), prefix: freshPrefix(), auth: testAuth, deadline: 1000, ...options },
          routes,
          ...rest,
        });
        running.push(app);
        return app;
      }

      describe("authentication", () => {
        it("asks for credentials where there are none, without an error code", async () => {
          const { url } = await start();
          for (const headers of [{}, { authorization: "" }, { authorization: "Basic dTpw" }]) {
            const answer = await send(`${url}/me`, { headers });
            expect(answer.status).to.equal(401);
            expect(answer.headers["www-authenticate"]).to.equal("Bearer");
            expect(answer.json).to.include({ code: "credentials_required", status: 401 });
          }
        });

        it("refuses every bad token with the same answer", async () => {
          const { url } = await start({ auth: { ...testAuth, realm: "orders" } });
          const good = await signToken();
          const bad = [
            "nonsense",
            `${good}x`,
            good.slice(0, -3),
            `${good} ${good}`,
            `${good}, Bearer ${good}`,
            await signToken({ exp: 1 }),
            await signToken({ exp: undefined }),
            await signToken({ aud: "another" }),
            await signToken({ iss: "another" }),
            await signToken({ jti: 7 as unknown as string }),
          ];
          const answers = await Promise.all(bad.map((token) => send(`${url}/me`, { token })));
          expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([401]));
          expect(new Set(answers.map(({ text }) => text)).size).to.equal(1);
          const challenges = new Set(answers.map(({ headers }) => headers["www-authenticate"]));
          expect([...challenges]).to.have.length(1);
          expect([...challenges][0]).to.match(
            /^Bearer realm="orders", error="invalid_token", error_description="[^"\\]+"$/,
          );
        });

        it("lets a good token pass and shows who it is", async () => {
          const { url } = await start();
          const token = await signToken({ sub: "alice", scope: "a b" });
          for (const authorization of [
            `Bearer ${token}`,
            `bearer ${token}`,
            `BEARER   ${token}`,
            `  Bearer ${token}  `,
          ]) {
            const answer = await send(`${url}/me`, { headers: { authorization } });
            expect(answer.status).to.equal(200);
            expect(answer.json).to.deep.include({ subject: "alice", scopes: ["a", "b"] });
          }
        });

        it("lets anonymous requests pass where it is optional, but never a bad token", async () => {
          const { url } = await start({ auth: { ...testAuth, optional: true } });
          expect((await send(`${url}/me`)).json).to.deep.include({ subject: null });
          expect((await send(`${url}/me`, { token: await signToken() })).json).to.deep.include({ subject: "alice" });
          expect((await send(`${url}/me`, { token: await signToken({ exp: 1 }) })).status).to.equal(401);
        });

        it("takes the token from a cookie, and refuses that on an unsafe method from elsewhere", async () => {
          const origins = ["https://app.example.com"];
          const { url } = await start({ auth: { ...testAuth, tokenFrom: ["header", { cookie: "session", origins }] } });
          const cookie = `other=1; session=${await signToken()}`;
          const post = (headers: Record<string, string>) =>
            send(`${url}/logout`, { method: "POST", headers: { cookie, ...headers } });
          expect((await send(`${url}/me`, { headers: { cookie } })).status).to.equal(200);
          expect((await post({})).status).to.equal(403);
          expect((await post({ origin: "https://evil.example" })).status).to.equal(403);
          expect((await post({ "sec-fetch-site": "cross-site" })).status).to.equal(403);
          expect((await post({ origin: "https://app.example.com" })).status).to.equal(204);
        });

        it("refuses a request with tokens in two places", async () => {
          const { url } = await start({ auth: { ...testAuth, tokenFrom: ["header", { cookie: "session" }] } });
          const token = await signToken();
          const answer = await send(`${url}/me`, { token, headers: { cookie: `session=${token}` } });
          expect(answer.status).to.equal(400);
          expect(answer.headers["www-authenticate"]).to.equal('Bearer error="invalid_request"');
        });

        it("refuses what lacks a scope with 403 and names the scopes", async () => {
          const { url } = await start(
            {},
            { use: (gate) => [gate.guard(), gate.requireScopes("orders:read", "orders:write")] },
          );
          const answer = await send(`${url}/me`, { token: await signToken({ scope: "orders:read" }) });
          expect(answer.status).to.equal(403);
          expect(answer.headers["www-authenticate"]).to.equal(
            'Bearer error="insufficient_scope", scope="orders:read orders:write"',
          );
          const token = await signToken({ scope: ["orders:write", "orders:read"] });
          expect((await send(`${url}/me`, { token })).status).to.equal(200);
        });

        it("stays away from public paths, however they are disguised", async () => {
          const { url } = await start(
            {},
            { use: (gate) => [gate.unless({ path: ["/me", "/public/*"] }, gate.guard())] },
          );
          expect((await send(`${url}/me?x=1`)).status).to.equal(200);
          for (const path of [
            "/logout",
            "//me",
            "/public/../logout",
            "/public/%2e%2e/logout",
            "/public/..%2flogout",
            "/ME",
          ]) {
            expect((await send(`${url}${path}`, { method: "POST" })).status, path).to.equal(401);
          }
        });

        it("lets a CORS preflight pass, and only a real one", async () => {
          const { url } = await start();
          const preflight = { origin: "https://a.example", "access-control-request-method": "GET" };
          expect((await send(`${url}/me`, { method: "OPTIONS", headers: preflight })).status).to.not.equal(401);
          expect((await send(`${url}/me`, { method: "OPTIONS" })).status).to.equal(401);
        });
      });

      describe("revocation", () => {
        it("refuses a revoked token at its next request, like any other bad token", async () => {
          const { url } = await start();
          const token = await signToken();
          const other = await signToken();
          expect((await send(`${url}/me`, { token })).status).to.equal(200);
          expect((await send(`${url}/logout`, { method: "POST", token })).status).to.equal(204);
          const answer = await send(`${url}/me`, { token });
          expect(answer.status).to.equal(401);
          expect(answer.text).to.equal((await send(`${url}/me`, { token: "bad" })).text);
          expect((await send(`${url}/me`, { token: other })).status).to.equal(200);
        });

        it("refuses all tokens of a subject, and lets a later one pass", async () => {
          const { url, gate } = await start();
          const [mine, unrelated] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
          const undated = await signToken({ sub: "alice", iat: undefined });
          const cutoff = await gate.revocations.revokeSubject("alice");
          for (const token of [mine, undated]) expect((await send(`${url}/me`, { token })).status).to.equal(401);
          expect((await send(`${url}/me`, { token: unrelated })).status).to.equal(200);
          const later = await signToken({ sub: "alice", iat: cutoff + 1 });
          expect((await send(`${url}/me`, { token: later })).status).to.equal(200);
        });

        it("knows a token without jti by its signing input", async () => {
          const { url } = await start();
          const [one, two] = [await signToken({ jti: undefined, n: 1 }), await signToken({ jti: undefined, n: 2 })];
          await send(`${url}/logout`, { method: "POST", token: one });
          expect((await send(`${url}/me`, { token: one })).status).to.equal(401);
          expect((await send(`${url}/me`, { token: two })).status).to.equal(200);
        });

        it("answers isRevoked", async () => {
          const { gate } = await start();
          expect(await gate.revocations.isRevoked({ jti: "j" })).to.equal(false);
          await gate.revocations.revoke({ jti: "j", expiresAt: Date.now() / 1000 + 60 });
          expect(await gate.revocations.isRevoked({ jti: "j" })).to.equal(true);
        });

        it("says what is missing when there is nothing to revoke", async () => {
          const { gate } = await start();
          for (const nothing of [
            undefined,
            { expiresAt: Number.NaN, jti: "j" },
            { expiresAt: 1e12 },
            { expiresAt: 1e12, jti: "" },
          ]) {
            const error: unknown = await gate.revocations.revoke(nothing).catch((reason: unknown) => reason);
            expect(error).to.be.instanceOf(TypeError);
          }
        });

        it("accepts lives of any length when revoking", async () => {
          const { gate } = await start();
          for (const [index, expiresAt] of [1e308, Infinity, Date.now() / 1000 + 299.5, -5, 0].entries()) {
            await gate.revocations.revoke({ jti: `j${index}`, expiresAt });
          }
          expect(await gate.revocations.isRevoked({ jti: "j0" })).to.equal(true);
        });
      });

      describe("rate limits", () => {
        const perAddress = { name: "ip", per: "ip", limit: 3, window: "1m" } as const;
        const perUser = { name: "user", per: "user", limit: 2, window: "1h" } as const;

        it("answer 429 to the request over the limit, with when to come back", async () => {
          const { url } = await start({ limits: [perAddress] });
          const token = await signToken();
          for (let i = 1; i <= 3; i += 1) {
            const answer = await send(`${url}/me`, { token });
            expect(answer.status).to.equal(200);
            expect(answer.headers["ratelimit-policy"]).to.equal('"ip";q=3;w=60');
            expect(answer.headers.ratelimit).to.match(new RegExp(`^"ip";r=${3 - i};t=(60|59)$`));
          }
          const refused = await send(`${url}/me`, { token });
          expect(refused.status).to.equal(429);
          expect(refused.headers.ratelimit).to.match(/^"ip";r=0;t=(60|59|58)$/);
          const reset = Number(/t=(\d+)/.exec(refused.headers.ratelimit as string)?.[1]);
          expect(Number(refused.headers["retry-after"])).to.equal(reset);
          expect(refused.headers["cache-control"]).to.equal("no-store");
          expect(refused.json).to.deep.equal({
            type: "https://iana.org/assignments/http-problem-types#quota-exceeded",
            title: "Request cannot be satisfied as assigned quota has been exceeded",
            status: 429,
            code: "quota_exceeded",
            "violated-policies": ["ip"],
          });
        });

        it("hold for an address across users, and count bad tokens and missing ones", async () => {
          const { url } = await start({ limits: [perAddress] }, { behindProxy: true });
          const from = "203.0.113.1";
          expect((await send(`${url}/me`, { from, token: await signToken({ sub: "alice" }) })).status).to.equal(200);
          expect((await send(`${url}/me`, { from, token: "bad" })).status).to.equal(401);
          expect((await send(`${url}/me`, { from })).status).to.equal(401);
          expect((await send(`${url}/me`, { from, token: await signToken({ sub: "bob" }) })).status).to.equal(429);
          expect((await send(`${url}/me`, { from, token: "bad" })).status).to.equal(429);
          expect((await send(`${url}/me`, { from: "203.0.113.2", token: await signToken() })).status).to.equal(200);
        });

        it("see one client in all spellings of its address", async () => {
          const { url } = await start({ limits: [perAddress] }, { behindProxy: true });
          const token = await signToken();
          const spellings = ["::ffff:203.0.113.1", "203.0.113.1", "::FFFF:cb00:7101", "::ffff:203.0.113.1"];
          const statuses: number[] = [];
          for (const from of spellings) statuses.push((await send(`${url}/me`, { from, token })).status);
          expect(statuses).to.deep.equal([200, 200, 200, 429]);
        });

        it("follow the user across addresses", async () => {
          const { url } = await start({ limits: [perUser] }, { behindProxy: true });
          const statuses: number[] = [];
          for (const from of ["203.0.113.1", "203.0.113.2", "203.0.113.3"]) {
            statuses.push((await send(`${url}/me`, { from, token: await signToken({ sub: "alice" }) })).status);
          }
          expect(statuses).to.deep.equal([200, 200, 429]);
          expect((await send(`${url}/me`, { token: await signToken({ sub: "bob" }) })).status).to.equal(200);
        });

        it("are not charged to a user by a revoked token", async () => {
          const { url, gate } = await start({ limits: [perUser] });
          const revoked = await signToken({ sub: "alice", jti: "stolen" });
          await gate.revocations.revoke({ jti: "stolen", expiresAt: Date.now() / 1000 + 300 });
          for (let i = 0; i < 5; i += 1) expect((await send(`${url}/me`, { token: revoked })).status).to.equal(401);
          const token = await signToken({ sub: "alice" });
          expect((await send(`${url}/me`, { token })).headers.ratelimit).to.match(/r=1/);
        });

        it("count only admitted requests, all policies or none", async () => {
          const { url } = await start({ limits: [{ ...perAddress, limit: 10 }, perUser] });
          const token = await signToken();
          for (let i = 0; i < 6; i += 1) await send(`${url}/me`, { token });
          const other = await send(`${url}/me`, { token: await signToken({ sub: "bob" }) });
          expect(other.headers.ratelimit).to.match(/^"ip";r=7;t=\d+, "user";r=1;t=\d+$/);
          expect(other.headers["ratelimit-policy"]).to.equal('"ip";q=10;w=60, "user";q=2;w=3600');
          const refused = await send(`${url}/me`, { token });
          expect(refused.headers.ratelimit).to.match(/^"ip";r=7;t=\d+, "user";r=0;t=\d+$/);
        });

        it("take limits, costs, keys and exceptions from functions", async () => {
          const { url } = await start({
            limits: [
              {
                name: "plan",
                per: (raw) => String(raw.headers["x-tenant"]),
                limit: (_raw, { auth }) => (auth?.scopes.includes("gold") === true ? 10 : 2),
                cost: (raw) => Promise.resolve(Number(raw.headers["x-cost"] ?? 1)),
                skip: (raw) => raw.headers["x-skip"] !== undefined,
                window: "1m",
              },
            ],
          });
          const [plain, gold] = [await signToken(), await signToken({ scope: "gold" })];
          const ask = async (token: string, headers: Record<string, string>) =>
            (await send(`${url}/me`, { token, headers })).status;
          expect(await ask(plain, { "x-tenant": "t", "x-cost": "2" })).to.equal(200);
          expect(await ask(plain, { "x-tenant": "t" })).to.equal(429);
          expect(await ask(plain, { "x-tenant": "t", "x-skip": "1" })).to.equal(200);
          expect(await ask(plain, { "x-tenant": "u" })).to.equal(200);
          expect(await ask(gold, { "x-tenant": "t", "x-cost": "8" })).to.equal(200);
          expect(await ask(gold, { "x-tenant": "t" })).to.equal(429);
          expect(await ask(gold, { "x-tenant": "", "x-cost": "1" })).to.equal(500);
          for (const cost of ["-5", "1.5", "NaN", "1e21"]) {
            expect(await ask(gold, { "x-tenant": "t", "x-cost": cost }), cost).to.equal(500);
          }
        });

        it("count a request once, however often it passes", async () => {
          const { url } = await start(
            { limits: [perAddress] },
            {
              use: (gate) => {
                const guard = gate.guard();
                return [guard, guard, gate.guard()];
              },
            },
          );
          expect((await send(`${url}/me`, { token: await signToken() })).headers.ratelimit).to.match(/r=2/);
        });

        it("can stand alone, and add up in the fields", async () => {
          const { url } = await start(
            { limits: [perAddress] },
            {
              use: (gate) => [gate.guard(), gate.limit({ name: "burst", per: "user", limit: 1, window: "10s" })],
            },
          );
          const token = await signToken();
          expect((await send(`${url}/me`, { token })).headers["ratelimit-policy"]).to.equal(
            '"ip";q=3;w=60, "burst";q=1;w=10',
          );
          expect((await send(`${url}/me`, { token })).json).to.deep.include({ "violated-policies": ["burst"] });
        });

        it("skip per-user policies for nobody, and refuse a token that names no user to them", async () => {
          const { url } = await start({ auth: { ...testAuth, optional: true }, limits: [perUser] });
          for (let i = 0; i < 4; i += 1) expect((await send(`${url}/me`)).status).to.equal(200);
          expect((await send(`${url}/me`, { token: await signToken({ sub: undefined }) })).status).to.equal(401);
        });
      });

      describe("the request cache", () => {
        it("reads a key once in one request, keeps values between requests, and keeps users apart", async () => {
          let made = 0;
          const { url } = await start(
            {},
            {
              routes: {
                "GET /twice": async ({ cache }) => {
                  const make = () => ({ made: (made += 1) });
                  const values = await Promise.all([
                    cache.getOrSet({ key: "k" }, make),
                    cache.getOrSet({ key: "k" }, make),
                  ]);
                  return { same: values[0] === values[1], made: values[0].made };
                },
                "GET /mine": async ({ auth, cache }) =>
                  cache.forUser().getOrSet({ key: "k" }, () => ({ of: auth?.subject })),
              },
            },
          );
          const token = await signToken({ sub: "alice" });
          expect((await send(`${url}/twice`, { token })).json).to.deep.equal({ same: true, made: 1 });
          expect((await send(`${url}/twice`, { token })).json).to.deep.equal({ same: true, made: 1 });
          for (const sub of ["alice", "bob", "alice", "bob"]) {
            expect((await send(`${url}/mine`, { token: await signToken({ sub }) })).json).to.deep.equal({ of: sub });
          }
        });

        it("has all its verbs", async () => {
          const { url } = await start(
            {},
            {
              routes: {
                "GET /verbs": async ({ cache }) => {
                  const ns = cache.namespace("n");
                  await cache.set("a", 1, { ttl: "1m" });
                  await cache.setMany([
                    ["b", [2]],
                    ["c", null],
                  ]);
                  await ns.set("a", "other");
                  const before = await cache.getMany(["a", "b", "c", "d"]);
                  await cache.delete("a");
                  return [
                    before,
                    await cache.get("a"),
                    await cache.has("b"),
                    await cache.has("a"),
                    await ns.get("a"),
                  ].map((value) => (value === undefined ? "none" : value));
                },
                "GET /after": async ({ cache }) => [(await cache.get("a")) ?? "none", await cache.get("b")],
              },
            },
          );
          const token = await signToken();
          expect((await send(`${url}/verbs`, { token })).json).to.deep.equal([
            [1, [2], null, null],
            "none",
            true,
            false,
            "other",
          ]);
          expect((await send(`${url}/after`, { token })).json).to.deep.equal(["none", [2]]);
        });
      });

      it("throws refusals on request, for the application's own error handler", async () => {
        const { url } = await start({}, { use: (gate) => [gate.guard({ onDeny: "throw" })] });
        const answer = await send(`${url}/me`);
        expect(answer.status).to.equal(401);
        expect(answer.headers["www-authenticate"]).to.equal("Bearer");
        expect(answer.headers["content-type"]).to.not.equal("application/problem+json");
      });

      it("keeps throwing them from inside other middleware", async () => {
        for (const wrap of [
          (gate: AnyGate) => gate.unless({ path: "/public" }, gate.guard({ onDeny: "throw" })),
          (gate: AnyGate) => gate.guard({ checks: [gate.authenticate({ onDeny: "throw" })] }),
        ]) {
          const { url } = await start({}, { use: (gate) => [wrap(gate)] });
          const answer = await send(`${url}/me`);
          expect(answer.status).to.equal(401);
          expect(answer.headers["content-type"]).to.not.equal("application/problem+json");
        }
      });

      it("says why to those who listen, and to nobody else", async () => {
        const heard: unknown[] = [];
        const listen = (message: unknown) => heard.push(message);
        const { url } = await start(
          {},
          { use: (gate) => [gate.unless({ path: "/throws" }, gate.guard()), gate.guard({ onDeny: "throw" })] },
        );
        subscribe("portcullis:denied", listen);
        try {
          const token = await signToken({ exp: 1 });
          await send(`${url}/me`, { token });
          await send(`${url}/throws`, { token });
        } finally {
          unsubscribe("portcullis:denied", listen);
        }
        const denial = { code: "token_invalid", status: 401, cause: "ERR_JWT_EXPIRED" };
        expect(heard).to.deep.equal([denial, denial]);
      });

      it("keeps apart users and tokens of several issuers that have the same names", async () => {
        const issuers = ["https://a.test", "https://b.test"];
        const { url } = await start(
          { auth: { ...testAuth, issuer: issuers }, limits: [{ name: "user", per: "user", limit: 2, window: "1m" }] },
          {
            routes: {
              ...routes,
              "GET /mine": async ({ auth, cache }) =>
                cache.forUser().getOrSet({ key: "k" }, () => ({ of: auth?.issuer })),
            },
          },
        );
        const [a, b] = await Promise.all(issuers.map((iss) => signToken({ iss, sub: "same", jti: "same" })));
        for (const [index, token] of [a, b].entries()) {
          expect((await send(`${url}/mine`, { token: token! })).json).to.deep.equal({ of: issuers[index] });
        }
        expect((await send(`${url}/logout`, { method: "POST", token: a! })).status).to.equal(204);
        expect((await send(`${url}/me`, { token: a! })).status).to.equal(401);
        expect((await send(`${url}/me`, { token: b! })).status).to.equal(200);
      });

      it("composes by hand", async () => {
        const { url } = await start(
          {},
          {
            use: (gate) => [
              gate.guard({
                checks: [
                  gate.limit({ name: "early", per: "ip", limit: 2, window: "1m" }),
                  gate.authenticate(),
                  gate.requestCache(),
                  gate.requireScopes("a"),
                ],
              }),
            ],
          },
        );
        expect((await send(`${url}/me`)).status).to.equal(401);
        expect((await send(`${url}/me`, { token: await signToken({ scope: "a" }) })).status).to.equal(200);
        expect((await send(`${url}/me`)).status).to.equal(429);
      });

      it("answers HEAD like GET, without a body", async () => {
        const { url } = await start();
        const answer = await send(`${url}/me`, { method: "HEAD" });
        expect(answer.status).to.equal(401);
        expect(answer.text).to.equal("");
      });
    });
  }
}
