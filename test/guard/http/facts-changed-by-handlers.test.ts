import { portcullis as expressGate } from "@portcullis/express";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import express4 from "express4";
import { allAdapters } from "../../support/app.js";
import type { AnyGate, AnyMiddleware, AnyOptions, RunningApp, TestApp, TestRequest } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { send } from "../../support/http.js";
import { openGate, partnerAuth, signPartnerToken } from "../../support/several-gates.js";

/** A request of Express, or a context of Koa, as an application changes it. */
type Shown = Record<string, unknown> & { readonly headers: Record<string, unknown> };
type Next = (error?: unknown) => unknown;

/** Middleware of the application's own, for either framework. */
function act(change: (shown: Shown) => void): AnyMiddleware {
  return function own(...args: unknown[]): unknown {
    change(args[0] as Shown);
    return (args.at(-1) as Next)();
  };
}

/** Middleware as a part of an application has it: one after the other, then what follows. */
function nest(...parts: readonly AnyMiddleware[]): AnyMiddleware {
  return function nested(...args: unknown[]): unknown {
    const next = args.at(-1) as Next;

    function step(index: number): unknown {
      const part = parts[index] as unknown as ((...args: unknown[]) => unknown) | undefined;
      if (part === undefined) return next();
      return part(...args.slice(0, -1), (error?: unknown) => (error === undefined ? step(index + 1) : next(error)));
    }

    return step(0);
  };
}

/** The same, but the application goes on where they refuse by an error. */
function goOn(part: AnyMiddleware): AnyMiddleware {
  return async function tolerant(...args: unknown[]): Promise<unknown> {
    const call = part as unknown as (...args: unknown[]) => unknown;
    const passes = await new Promise((resolve) => {
      Promise.resolve(call(...args.slice(0, -1), (error?: unknown) => resolve(error === undefined))).catch(() =>
        resolve(false),
      );
    });
    return passes === undefined ? undefined : (args.at(-1) as Next)();
  };
}

const limit = { name: "later", per: "user", limit: 100, window: "1m" } as const;

/** Whatever of a gate can stand behind what the application has done. */
const later: Readonly<Record<string, (gate: AnyGate) => AnyMiddleware>> = {
  "limit()": (gate) => gate.limit(limit),
  "when() that matches": (gate) => gate.when({ path: "/me" }, gate.limit(limit)),
  "when() that does not match": (gate) => gate.when({ path: "/other" }, gate.limit(limit)),
  "when() that does not match, around authenticate()": (gate) => gate.when({ path: "/other" }, gate.authenticate()),
  "unless() that matches": (gate) => gate.unless({ path: "/me" }, gate.guard()),
  "some()": (gate) => gate.some(gate.requireScopes("nobody"), gate.limit(limit)),
  "some() around a refusal of authenticate()": (gate) =>
    gate.some(gate.guard({ checks: [gate.authenticate(), gate.requireScopes("nobody")] }), gate.limit(limit)),
  "optional()": (gate) => gate.optional(gate.limit(limit)),
  "guard({ checks }) that finds out nothing new": (gate) => gate.guard({ checks: [gate.limit(limit)] }),
  "requestCache()": (gate) => gate.requestCache(),
  "requireScopes()": (gate) => gate.requireScopes("orders"),
  "cacheResponse()": (gate) => gate.cacheResponse({ ttl: "1m" }),
  "routes.health()": (gate) => gate.routes.health(),
  "authenticate() that finds the same user": (gate) => gate.authenticate(),
  "guard() that finds the same user": (gate) => gate.guard(),
  "the same, mounted twice": (gate) => {
    const guard = gate.guard();
    return nest(guard, nest(guard, gate.limit(limit)));
  },
};

for (const adapter of allAdapters) {
  describe(`a change of the facts by the application, on ${adapter.name}`, () => {
    const open = (options: Partial<AnyOptions>): AnyGate => openGate(adapter, options);

    async function start(
      use: (gate: AnyGate) => AnyMiddleware[],
      look: (request: TestRequest & Shown) => unknown = ({ auth }) => auth?.subject ?? null,
      options: Partial<AnyOptions> = {},
    ): Promise<RunningApp> {
      const routes: TestApp["routes"] = { "GET /me": (request) => ({ seen: look(request as TestRequest & Shown) }) };
      return adapter.start({ options: { redis: "memory", auth: testAuth, ...options }, use, routes });
    }

    /** What a handler sees behind this middleware. */
    async function seen(
      use: (gate: AnyGate) => AnyMiddleware[],
      look?: (request: TestRequest & Shown) => unknown,
      {
        headers,
        options,
        token,
      }: { headers?: Record<string, string>; options?: Partial<AnyOptions>; token?: string | null } = {},
    ): Promise<unknown> {
      const app = await start(use, look, options);
      const sent = token === undefined ? await signToken({ sub: "alice", scope: "orders" }) : token;
      const answer = await send(`${app.url}/me`, { ...(sent === null ? {} : { token: sent }), headers: headers ?? {} });
      expect(answer.status).to.equal(200);
      return (answer.json as { seen: unknown }).seen;
    }

    for (const [name, make] of Object.entries(later)) {
      it(`stays behind ${name}: the user`, async () => {
        const changes: Readonly<Record<string, readonly [(shown: Shown) => void, unknown]>> = {
          replaced: [(shown) => (shown.auth = { subject: "somebody else" }), "somebody else"],
          undefined: [(shown) => (shown.auth = undefined), null],
          deleted: [(shown) => delete shown.auth, null],
          null: [(shown) => (shown.auth = null), null],
        };
        const change = act((shown) => changes[String(shown.headers["x-change"])]![0](shown));
        const app = await start((gate) => [gate.guard(), change, make(gate)]);
        const token = await signToken({ sub: "alice", scope: "orders" });
        for (const [kind, [, expected]] of Object.entries(changes)) {
          const answer = await send(`${app.url}/me`, { token, headers: { "x-change": kind } });
          expect(answer.json).to.deep.equal({ seen: expected });
        }
      });

      it(`stays behind ${name}: cache and, if nothing new is limited, quotas`, async () => {
        function change(shown: Shown): void {
          shown.cache = "own";
          shown.quotas = ["own"];
        }
        const look = ({ cache, quotas }: TestRequest): unknown => [
          cache,
          quotas.map((quota) => (typeof quota === "string" ? quota : quota.policy)),
        ];
        const [cache, quotas] = (await seen((gate) => [gate.guard(), act(change), make(gate)], look)) as unknown[];
        expect(cache).to.equal("own");
        expect([["own"], ["later"]]).to.deep.include(quotas);
      });
    }

    it("stays: quotas, where a later limit does not count", async () => {
      const use = (gate: AnyGate): AnyMiddleware[] => {
        const counted = gate.limit(limit);
        return [
          ...[gate.authenticate(), counted, act((shown) => delete shown.quotas), counted],
          ...[gate.when({ path: "/other" }, gate.limit({ ...limit, name: "other" })), gate.guard()],
        ];
      };
      expect(await seen(use, ({ quotas }) => (quotas as unknown) === undefined)).to.equal(true);
    });

    it("is replaced by the results of a later limit: quotas, all of them", async () => {
      const use = (gate: AnyGate): AnyMiddleware[] => [
        ...[gate.limit({ ...limit, per: "ip" }), act((shown) => (shown.quotas = []))],
        gate.limit({ ...limit, per: "ip", name: "second" }),
      ];
      expect(await seen(use, ({ quotas }) => quotas.map(({ policy }) => policy))).to.deep.equal(["later", "second"]);
    });

    it("stays: an attempt to sign in, behind any middleware but that which begins one", async () => {
      const use = (gate: AnyGate): AnyMiddleware[] => {
        const throttle = gate.throttleLogin({ account: () => "alice", outcome: "status" });
        return [throttle, act((shown) => (shown.loginAttempt = "own")), throttle, gate.limit({ ...limit, per: "ip" })];
      };
      const seenAttempt = await seen(use, ({ loginAttempt }) => loginAttempt, { token: null });
      expect(seenAttempt).to.equal("own");
    });

    it("finds no user behind a function of a limit that failed before the store was asked about the token", async () => {
      const fails = { name: "fails", per: () => Promise.reject(new Error("a bug")), limit: 9, window: "1m" } as const;
      const app = await start(
        (gate) => [gate.requestCache(), goOn(gate.guard()), gate.requireScopes("orders")],
        undefined,
        {
          limits: [fails],
        },
      );
      const token = await signToken({ scope: "orders" });
      const verdict = await app.gate.verify(token);
      await app.gate.revocations.revoke(verdict.allowed ? verdict.auth : undefined);
      const answer = await send(`${app.url}/me`, { token });
      expect(answer.status).to.equal(401);
      expect(answer.json).to.include({ code: "credentials_required" });
    });

    it("is replaced by another user that the gate has identified", async () => {
      const bob = await signToken({ sub: "bob" });
      const use = (gate: AnyGate): AnyMiddleware[] => [
        gate.guard(),
        act((shown) => {
          shown.auth = { subject: "somebody else" };
          shown.headers.authorization = `Bearer ${bob}`;
        }),
        gate.authenticate(),
      ];
      expect(await seen(use)).to.equal("bob");
    });

    it("decides nothing: limits, caches and scopes use the user that the gate has verified", async () => {
      const app = await adapter.start({
        options: { redis: "memory", auth: testAuth },
        use: (gate) => [
          ...[gate.guard(), act((shown) => delete shown.auth), gate.requireScopes("orders")],
          gate.limit({ ...limit, limit: 2 }),
        ],
        routes: { "GET /me": ({ cache }) => cache.forUser().getOrSet({ key: "k" }, () => ({ made: Math.random() })) },
      });
      const [alice, bob] = await Promise.all(
        ["alice", "bob"].map((sub) => signToken({ sub, scope: "orders", jti: `of ${sub}` })),
      );
      const answers = [];
      for (const token of [alice!, alice!, alice!, bob!]) answers.push(await send(`${app.url}/me`, { token }));
      expect(answers.map(({ status }) => status)).to.deep.equal([200, 200, 429, 200]);
      expect(answers[1]!.text).to.equal(answers[0]!.text);
      expect(answers[3]!.text).to.not.equal(answers[0]!.text);
    });

    describe("without a user", () => {
      it("a user that a gate showed before is cleared", async () => {
        const use = (gate: AnyGate): AnyMiddleware[] => [
          ...[gate.authenticate(), act((shown) => delete shown.headers.authorization)],
          gate.guard({ optional: true }),
        ];
        expect(await seen(use)).to.equal(null);
      });

      it("a value of the application stays, before and after the gate has run", async () => {
        const own = act((shown) => (shown.auth = { subject: "own" }));
        for (const use of [
          (gate: AnyGate) => [own, gate.guard({ optional: true })],
          (gate: AnyGate) => [gate.guard({ optional: true }), own, gate.authenticate({ optional: true })],
          (gate: AnyGate) => [own, gate.optional(gate.authenticate()), gate.limit(limit)],
          (gate: AnyGate) => [
            ...[gate.guard({ optional: true }), own, gate.some(gate.authenticate(), gate.limit(limit))],
          ],
        ])
          expect(await seen(use, undefined, { token: null })).to.equal("own");
      });

      it("somebody who is found out later is shown", async () => {
        const alice = await signToken({ sub: "alice" });
        const use = (gate: AnyGate): AnyMiddleware[] => [
          ...[act((shown) => (shown.auth = { subject: "own" })), gate.guard({ optional: true })],
          ...[act((shown) => (shown.headers.authorization = `Bearer ${alice}`)), gate.authenticate()],
        ];
        expect(await seen(use, undefined, { token: null })).to.equal("alice");
      });
    });

    it("stays, where the gate looks for nobody: another library's user, cache and quotas", async () => {
      const use = (gate: AnyGate): AnyMiddleware[] => [
        act((shown) => Object.assign(shown, { auth: { subject: "own" }, cache: "own", quotas: "own" })),
        ...[gate.when({ path: "/other" }, gate.limit({ ...limit, per: "ip" })), gate.guard(), gate.cacheResponse()],
      ];
      const look = ({ auth, cache, quotas }: TestRequest): unknown => [auth?.subject, cache, quotas];
      const options = { auth: undefined, cache: false } as const;
      expect(await seen(use, look, { options, token: null })).to.deep.equal(["own", "own", "own"]);
    });

    it("is not undone by the facts of a run that then refused the request", async () => {
      const use = (gate: AnyGate): AnyMiddleware[] => [
        act((shown) => Object.assign(shown, { auth: { subject: "own" }, cache: "own", quotas: "own" })),
        goOn(
          gate.guard({
            checks: [gate.authenticate(), gate.requestCache(), gate.limit(limit), gate.requireScopes("nobody")],
            onDeny: "throw",
          }),
        ),
        ...[gate.when({ path: "/other" }, gate.limit(limit)), gate.cacheResponse()],
      ];
      const look = ({ auth, cache, quotas }: TestRequest): unknown => [auth?.subject, cache, quotas];
      // The gate warns of refusals that are dropped.
      expect(await seen(use, look, { options: { logger: silentLogger } })).to.deep.equal(["own", "own", "own"]);
    });

    it("a limit that refuses by an error signs nobody out, where the application goes on", async () => {
      const use = (gate: AnyGate): AnyMiddleware[] => [
        gate.guard(),
        goOn(gate.limit({ ...limit, limit: 0 }, { onDeny: "throw" })),
        gate.requireScopes("orders"),
      ];
      expect(await seen(use, undefined, { options: { logger: silentLogger } })).to.equal("alice");
    });

    it("lists no quotas rather than nothing, behind middleware that limits nothing", async () => {
      expect(
        await seen(
          (gate) => [gate.authenticate()],
          ({ quotas }) => quotas,
        ),
      ).to.deep.equal([]);
      expect(
        await seen(
          (gate) => [gate.guard({ optional: true })],
          ({ quotas }) => quotas,
        ),
      ).to.deep.equal([]);
    });

    describe("with two gates", () => {
      const both = ({ auth, partner }: TestRequest & Shown): unknown => [
        auth?.subject ?? null,
        (partner as { subject: string } | undefined)?.subject ?? null,
      ];

      it("of different properties: each changes only its own, and only by new facts", async () => {
        const partners = open({ auth: partnerAuth, property: "partner" });
        const headers = { "x-partner": await signPartnerToken({ sub: "shop" }) };
        const change = act((shown) => {
          delete shown.auth;
          shown.partner = { subject: "changed" };
        });
        const use = (gate: AnyGate): AnyMiddleware[] => [
          ...[gate.guard(), partners.guard(), change, partners.guard(), gate.guard()],
          ...[
            gate.limit(limit),
            partners.limit({ ...limit, name: "partner" }),
            partners.requireClaim("sub", (sub) => sub === "shop"),
          ],
        ];
        expect(await seen(use, both, { headers })).to.deep.equal([null, "changed"]);
        const unchanged = (gate: AnyGate): AnyMiddleware[] => [
          ...[partners.guard({ optional: true }), gate.guard(), partners.limit({ ...limit, name: "partner" })],
        ];
        expect(await seen(unchanged, both, { headers })).to.deep.equal(["alice", "shop"]);
        expect(await seen(unchanged, both)).to.deep.equal(["alice", null]);
      });

      it("a limit of one shows under its own property no user that the other has identified", async () => {
        const doorman = open({ property: "partner" });
        const use = (gate: AnyGate): AnyMiddleware[] => [gate.guard(), doorman.limit(limit), doorman.guard()];
        expect(await seen(use, both)).to.deep.equal(["alice", null]);
      });

      it("of one property: handlers see the user of the gate that looked last", async () => {
        const partners = open({ auth: partnerAuth });
        const headers = { "x-partner": await signPartnerToken({ sub: "shop" }) };
        for (const [use, expected] of [
          [(gate) => [gate.guard(), partners.guard()], "shop"],
          [(gate) => [partners.guard(), gate.guard()], "alice"],
          [(gate) => [gate.guard(), partners.guard(), gate.limit(limit), gate.requireScopes("orders")], "shop"],
          [(gate) => [gate.guard(), partners.guard(), gate.guard()], "alice"],
          [(gate) => [gate.guard(), partners.guard(), gate.guard(), partners.guard()], "shop"],
          [
            (gate) => [
              ...[gate.guard(), partners.guard(), act((shown) => delete shown.auth), gate.guard(), partners.guard()],
            ],
            null,
          ],
        ] as readonly (readonly [(gate: AnyGate) => AnyMiddleware[], unknown])[])
          expect(await seen(use, undefined, { headers })).to.equal(expected);
      });

      it("of one property: one that finds nobody clears the user of the other, whose rights it does not know", async () => {
        const partners = open({ auth: partnerAuth });
        const optional = partners.guard({ optional: true });
        expect(await seen((gate) => [gate.guard(), optional])).to.equal(null);
        expect(await seen((gate) => [gate.guard(), optional, gate.guard()])).to.equal("alice");
      });

      it("of one property: three of them keep to the same rule", async () => {
        const [partners, others] = [open({ auth: partnerAuth }), open({ auth: partnerAuth })];
        const headers = { "x-partner": await signPartnerToken({ sub: "shop" }) };
        const own = act((shown) => (shown.auth = { subject: "own" }));
        const use = (gate: AnyGate): AnyMiddleware[] => [
          ...[gate.guard(), partners.guard(), others.guard(), own, partners.guard(), others.guard(), gate.guard()],
        ];
        expect(await seen(use, undefined, { headers })).to.equal("own");
      });
    });
  });
}

for (const [name, framework] of Object.entries({ "Express 5": express, "Express 4": express4 })) {
  describe(`a change of the facts by the application, in parts of ${name}`, () => {
    it("stays in an application below, and in a router that is mounted twice", async () => {
      const gate = expressGate({ redis: "memory", auth: testAuth });
      const own: RequestHandler = (req, _res, next) => {
        (req as unknown as Shown).auth = { subject: "own" };
        next();
      };
      const [below, router, app] = [framework(), framework.Router(), framework()];
      router.use(gate.guard(), gate.limit(limit));
      below.use(router);
      below.get("/me", (req, res) => void res.json({ seen: req.auth?.subject }));
      app.use(router, own, router);
      app.use("/below", below);
      const server = app.listen(0, "127.0.0.1");
      cleanUp(async () => {
        server.closeAllConnections();
        server.close();
        await gate.close();
      });
      await new Promise((resolve) => server.once("listening", resolve));
      const { port } = server.address() as { port: number };
      const answer = await send(`http://127.0.0.1:${port}/below/me`, { token: await signToken({ sub: "alice" }) });
      expect(answer.json).to.deep.equal({ seen: "own" });
    });
  });
}
