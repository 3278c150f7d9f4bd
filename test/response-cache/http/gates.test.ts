import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import type { ResponseCacheOptions } from "@portcullis/core";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { allAdapters } from "../../support/app.js";
import type { AnyGate, AnyMiddleware, AnyOptions } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { origin } from "../../support/origin.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

const stores = [
  { store: "in process", redis: () => "memory" },
  { store: "on Redis", redis: testRedisUrl },
];

/** Finds a token in a header that no other gate knows. */
const partnerAuth: AnyOptions["auth"] = { ...testAuth, tokenFrom: ({ headers }) => String(headers["x-partner"] ?? "") };

interface AskedOf {
  readonly headers: Readonly<Record<string, string | undefined>>;
}

for (const adapter of allAdapters)
  for (const { store, redis } of stores)
    describe(`several gates and caches on the way of a request on ${adapter.name} ${store}`, () => {
      /** What the handler says of who is asking, by which headers, is its response. */
      async function serve(use: (gate: AnyGate, partners: AnyGate) => AnyMiddleware[]) {
        const common = { redis: redis(), prefix: freshPrefix(), deadline: 1000, logger: silentLogger };
        const create = adapter.name.startsWith("Koa") ? koaGate : expressGate;
        const partners = create({ ...common, auth: partnerAuth, property: "partner" } as never) as unknown as AnyGate;
        cleanUp(async () => partners.close());
        let calls = 0;
        const handler = origin(({ headers }) => {
          calls += 1;
          const known = ["x-partner", "x-staff", "x-tenant", "authorization"];
          return { body: known.map((name) => String(headers[name] ?? "")).join() };
        });
        const app = await adapter.start({
          options: { ...common, auth: testAuth },
          use: (gate) => [...use(gate, partners), handler],
          routes: {},
        });
        const ask = async (headers: Record<string, string> = {}): Promise<string> =>
          (await send(`${app.url}/a`, { headers })).text;
        return { ask, gate: app.gate, calls: () => calls };
      }

      const ttl = "1m" as const;

      it("store no response for a user that only a gate behind the cache has identified", async () => {
        const { ask } = await serve((gate, partners) => [
          ...[gate.guard({ optional: true }), gate.cacheResponse({ ttl }), partners.guard({ optional: true })],
        ]);
        const token = await signToken({ sub: "alice" });
        expect(await ask({ "x-partner": token })).to.include(token);
        expect(await ask()).to.equal(",,,");
      });

      it("keep one response for each user of all of them, where the cache is one for each user", async () => {
        const [alice, bob] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
        for (const isLate of [false, true]) {
          const { ask } = await serve((gate, partners) => {
            const both = [gate.cacheResponse({ ttl, per: "user" }), partners.guard({ optional: true })];
            return [gate.guard({ optional: true }), ...(isLate ? both : both.reverse())];
          });
          for (const partner of [alice, bob, alice, bob])
            expect(await ask({ authorization: `Bearer ${alice}`, "x-partner": partner })).to.include(partner);
        }
      });

      it("let the cache next to the handler decide, with rules that are narrower than those in front", async () => {
        const rules: Record<string, [ResponseCacheOptions<AskedOf>, string]> = {
          partition: [{ ttl, partition: ({ headers }) => headers["x-tenant"] ?? "none" }, "x-tenant"],
          credentials: [{ ttl, credentials: { add: ["X-Staff"] } }, "x-staff"],
          skip: [{ ttl, skip: ({ headers }) => headers["x-staff"] !== undefined }, "x-staff"],
        };
        for (const [rule, [narrow, header]] of Object.entries(rules))
          for (const other of [false, true]) {
            const { ask } = await serve((gate, partners) => [
              ...[
                gate.cacheResponse({ ttl: "1h" }),
                (other ? partners : gate).cacheResponse(narrow as ResponseCacheOptions),
              ],
            ]);
            const values = [undefined, "a", "b", undefined, "a", "b"];
            for (const value of values)
              expect(await ask(value === undefined ? {} : { [header]: value }), rule).to.equal(
                header === "x-tenant" ? `,,${value ?? ""},` : `,${value ?? ""},,`,
              );
          }
      });

      it("store a response that the cache next to the handler may store, once, and end it by a purge", async () => {
        const { ask, gate, calls } = await serve((gate) => {
          const cache = gate.cacheResponse({ ttl });
          return [gate.cacheResponse(), cache, cache];
        });
        const times = await Promise.all([ask(), ask(), ask()]);
        expect([...times, await ask()]).to.deep.equal([",,,", ",,,", ",,,", ",,,"]);
        expect(calls()).to.equal(1);
        await gate.responses.purgePath("/a");
        await ask();
        expect(calls()).to.equal(2);
      });
    });
