import { randomUUID } from "node:crypto";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { allAdapters } from "../support/app.js";
import type { AnyOptions, RunningApp, TestAdapter } from "../support/app.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { origin } from "../support/origin.js";
import { exchangeRaw } from "../support/raw.js";
import { freshPrefix, operate, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";

/** The Redis and its prefix, which all services of a test have. */
interface Place {
  readonly redis: string;
  readonly prefix: string;
}

/** A service that says its name in all it answers: stored responses below /page, cached values below /value. */
async function serve(adapter: TestAdapter, says: string, place: Place, options: Partial<AnyOptions>) {
  const made: string[] = [];
  const app = await adapter.start({
    options: {
      ...place,
      auth: testAuth,
      cache: { tenantClaim: "org_id", local: { ttl: "1m" } },
      deadline: 1000,
      logger: silentLogger,
      ...options,
    },
    use: (gate) => [
      gate.routes.metrics(),
      gate.guard({ optional: true }),
      gate.when({ path: "/page/*" }, gate.cacheResponse({ ttl: "1m", tags: ["pages"] })),
      gate.when({ path: "/mine/*" }, gate.cacheResponse({ per: "user", ttl: "1m", tags: ["pages"] })),
      origin(async ({ url, method, auth }) => {
        if (method !== "GET") return { status: 204 };
        if (!url.startsWith("/value")) {
          made.push(url);
          return { body: { says, of: auth?.subject ?? null } };
        }
        const value = (): { says: string } => {
          made.push(url);
          return { says };
        };
        const { cache } = app.gate;
        const tags = ["values"];
        const [, , view, name = ""] = url.split("/");
        const key = `key of ${name}`;
        const body = await (view === "user"
          ? cache.forUser(auth?.principal ?? "").getOrSet({ key, tags }, value)
          : view === "tenant"
            ? cache.forTenant("acme").getOrSet({ key, tags }, value)
            : cache.namespace("n").getOrSet({ key, tags, shared: true }, value));
        return { body };
      }),
    ],
    routes: {},
  });
  return { ...app, made };
}

type Service = Awaited<ReturnType<typeof serve>>;

function freshPlace(): Place {
  return { redis: testRedisUrl(), prefix: freshPrefix() };
}

/** What belongs to everybody is asked for by nobody, since responses to a token are not stored for others. */
async function ask({ url }: RunningApp, path: string, token: string, method = "GET"): Promise<string> {
  const bearer = path.startsWith("/page") ? "" : `Authorization: Bearer ${token}\r\n`;
  return exchangeRaw(url, `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${bearer}Connection: close\r\n\r\n`);
}

/** The host of the second service, which whoever asks the first may say too. */
const host = "admin.example.com";

const paths = [
  "/page/config",
  "/mine/profile",
  "/value/shared/settings",
  "/value/user/settings",
  "/value/tenant/settings",
];

/** Two services of one issuer: how they are told apart, or not. */
const pairs: readonly { what: string; meet: boolean; a: Partial<AnyOptions>; b: Partial<AnyOptions> }[] = [
  {
    what: "tokens for other audiences",
    meet: false,
    a: { auth: { ...testAuth, audience: "catalogue" } },
    b: { auth: { ...testAuth, audience: ["admin"] } },
  },
  { what: "other names, and one audience", meet: false, a: { service: "catalogue" }, b: { service: "admin" } },
  { what: "a name, and none", meet: false, a: { service: "catalogue" }, b: {} },
  {
    what: "a name, and neither name nor audience",
    meet: false,
    a: { service: "x" },
    b: { auth: { ...testAuth, audience: false } },
  },
  {
    what: "one name, and other audiences",
    meet: true,
    a: { service: "shop", auth: { ...testAuth, audience: "catalogue" } },
    b: { service: "shop", auth: { ...testAuth, audience: "admin" } },
  },
  { what: "one audience, and no names", meet: true, a: {}, b: {} },
];

const together = pairs.filter(({ meet }) => meet);
const apart = pairs.filter(({ meet }) => !meet);

for (const [index, adapter] of allAdapters.entries()) {
  describe(`services of one issuer on one Redis, on ${adapter.name}`, function () {
    this.timeout(30_000);
    let token: string;

    before(async () => {
      token = await signToken({ sub: "alice", org_id: "acme", aud: ["catalogue", "admin", testAuth.audience].flat() });
    });

    // How services are told apart has no framework in it: each way is tried on one of them.
    for (const { what, meet, a, b } of [together[index % together.length]!, apart[index % apart.length]!]) {
      const start = async (): Promise<[Service, Service]> => {
        const place = freshPlace();
        return Promise.all([serve(adapter, "A", place, a), serve(adapter, "B", place, b)]);
      };

      describe(`with ${what}`, () => {
        it(
          meet ? "share values and responses" : "never answer with the other's value or response, whatever Host says",
          async () => {
            const [first, second] = await start();
            for (const path of paths) {
              // Whoever asks A in the name of B's host leaves a response there.
              const forged = await ask(first, path, token);
              expect(forged, path).to.include('"says":"A"');
              await stored(first, path);
              const answer = await ask(second, path, token);
              expect(answer, path).to.include(`"says":"${meet ? "A" : "B"}"`);
            }
            expect(second.made).to.have.length(meet ? 0 : paths.length);
          },
        );

        it(meet ? "end each other's values and responses" : "never end the other's values and responses", async () => {
          const [first, second] = await start();
          const endings: ((one: Service) => Promise<unknown>)[] = [
            ({ gate }) => gate.cache.deleteByTag("values"),
            ({ gate }) => gate.cache.clear(),
            ({ gate }) => gate.responses.purge("values", "pages"),
            ({ gate }) => gate.responses.purgePath("/page/config"),
            (one) => ask(one, "/page/config", token, "POST"),
            ({ gate }) => gate.cache.namespace("n").delete("key of settings"),
            ({ gate }) => gate.cache.forTenant("acme").delete("key of settings"),
          ];
          for (const end of endings) {
            for (const path of paths) {
              await ask(second, path, token);
              await stored(second, path);
            }
            const before = second.made.length;
            await end(first);
            const ended = async (): Promise<boolean> => {
              for (const path of paths) await ask(second, path, token);
              return second.made.length > before;
            };
            // What one service tells the other arrives in a moment; what it does not tell never does.
            if (meet) await until(ended);
            else await second.gate.cache.delete("heard after all that was said before");
            expect(await ended(), String(end)).to.equal(meet);
          }
        });
      });
    }

    /** A response is stored beside its answer: asks until it, or the value, comes from the store. */
    async function stored(service: Service, path: string): Promise<void> {
      for (let round = 0; round < 200; round += 1) {
        const count = service.made.length;
        await ask(service, path, token);
        if (service.made.length === count) return;
      }
      throw new Error(`${path} is never stored`);
    }

    it("are distinct in all their metrics, if they have names", async () => {
      for (const service of ["orders-api", undefined]) {
        const app = await serve(adapter, "A", freshPlace(), { service });
        for (const path of paths) await ask(app, path, token);
        const { text } = await send(`${app.url}/metrics`);
        const values = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
        expect(values.length).to.be.greaterThan(10);
        const named = values.filter((line) => line.includes('{service="orders-api"'));
        expect(named).to.deep.equal(service === undefined ? [] : values);
      }
    });

    it("are distinct in all keys and channels of their caches, and in no others", async () => {
      const place = freshPlace();
      const name = `s${randomUUID().slice(0, 8)}`;
      const service = await serve(adapter, "A", place, {
        service: name,
        limits: [{ name: "ip", per: "ip", limit: 100, window: "1m" }],
      });
      for (const path of paths) await ask(service, path, token);
      await service.gate.responses.purgePath("/page/config");
      const slow = service.gate.cache.getOrSet({ key: "slow" }, async () =>
        (await operator.keys(`${place.prefix}*`)).join("\n"),
      );
      const operator = operate(place.redis);
      await service.gate.revocations.revokeSubject("bob");
      const keys = [...(await operator.keys(`${place.prefix}*`)), ...(await slow).split("\n")];
      const channels = (await operator.call("PUBSUB", "CHANNELS", `${place.prefix}*`)) as string[];
      const ofService = /portcullis:2:(?:cache|making|generation|channel):/;
      expect(keys.filter((key) => /:making:/.test(key))).not.to.deep.equal([]);
      expect(channels).not.to.deep.equal([]);
      for (const key of [...keys, ...channels]) {
        const own = ofService.test(key) && !key.endsWith("channel:sessions");
        expect(key.includes(name), key).to.equal(own);
        if (own) expect(key.slice(place.prefix.length)).to.match(new RegExp(`^${ofService.source}${name}:`));
      }
      expect((await send(`${service.url}/value/shared/settings`, { token })).status).to.equal(200);
    });
  });
}
