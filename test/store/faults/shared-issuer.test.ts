import { expect } from "chai";
import type { Redis } from "ioredis";
import { Cluster } from "ioredis";
import type { RedisServer } from "@portcullis/testkit";
import { nowSeconds, signToken, startCluster, startRedis, testAuth } from "@portcullis/testkit";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { issuerDigest, noIssuer } from "../../support/issuer-digest.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

const customers = "https://customers.test";
const partners = "https://partners.test";
const marker = "portcullis:2:shared-issuer";

describe("the shared auth: keys of a Redis", function () {
  this.timeout(30_000);
  let server: RedisServer;
  let redis: Redis;

  beforeEach(async () => {
    server = await startRedis();
    cleanUp(() => server.stop());
    redis = operate(server.url);
  });

  async function start(
    issuer: string | undefined,
    options: Partial<AnyOptions> & { sharedIssuer?: string | false } = {},
    adapter = adapters[0]!,
  ): Promise<RunningApp> {
    const { sharedIssuer, ...rest } = options;
    return adapter.start({
      options: {
        redis: server.url,
        auth: { ...testAuth, issuer, sharedIssuer },
        logger: silentLogger,
        deadline: 1000,
        ...rest,
      },
      routes: {
        "GET /me": ({ auth }) => auth?.subject ?? null,
        "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
      },
    });
  }

  const tokenOf = (iss: string, claims: object = {}) =>
    signToken({ iss, sub: "42", jti: "7", sid: "s", org_id: "acme", iat: nowSeconds() - 10, ...claims });
  const visit = async ({ url }: RunningApp, token: string): Promise<number> =>
    (await send(`${url}/me`, { token })).status;
  const findings = async ({ gate }: RunningApp): Promise<string[]> => (await gate.examine()).map(({ code }) => code);

  for (const adapter of adapters) {
    it(`belong to the issuer that was there first, and no other one's users are met in them (${adapter.name})`, async () => {
      const first = await start(customers, {}, adapter);
      expect(await findings(first)).not.to.include("shared_issuer_taken");
      const second = await start(partners, {}, adapter);
      const [ofCustomer, ofPartner] = [await tokenOf(customers), await tokenOf(partners)];
      expect([await visit(first, ofCustomer), await visit(second, ofPartner)]).to.deep.equal([200, 200]);
      expect(await redis.get(marker)).to.equal(issuerDigest(customers));

      await send(`${second.url}/logout`, { method: "POST", token: ofPartner });
      await second.gate.revocations.revokeSubject("42");
      await second.gate.sessions.revokeGroup("acme");
      expect(await visit(second, ofPartner), "the partner is signed out").to.equal(401);
      expect(await visit(first, ofCustomer), "the customer of that name is not").to.equal(200);
      expect(await redis.exists("auth:revoked:7", "auth:cutoff:42")).to.equal(0);
      const digest = issuerDigest(partners);
      expect(
        await redis.exists(`portcullis:2:revoked:jti:${digest}:7`, `portcullis:2:cutoff:subject:${digest}:42`),
      ).to.equal(2);

      const again = await tokenOf(partners, { jti: "8", iat: nowSeconds() + 3 });
      await first.gate.revocations.revokeSubject("42");
      expect(await visit(first, ofCustomer)).to.equal(401);
      expect(await redis.exists("auth:cutoff:42")).to.equal(1);
      expect(await visit(second, await tokenOf(partners, { sub: "43", jti: "9", sid: "t", org_id: "b" }))).to.equal(
        200,
      );
      expect([401, 200]).to.include(await visit(second, again));
      expect(await findings(second)).to.include("shared_issuer_taken");
      expect(await findings(first)).not.to.include("shared_issuer_taken");
    });
  }

  it("are shared by all processes of that issuer, before and after a restart, and with other services", async () => {
    const one = await start(customers);
    expect(await visit(one, await tokenOf(customers))).to.equal(200);
    await start(partners);
    await one.close();
    const [two, three] = [await start(customers), await start(customers)];
    const token = await tokenOf(customers);
    expect([await visit(two, token), await visit(three, token)]).to.deep.equal([200, 200]);
    await redis.set("auth:revoked:7", "revoked", "EX", 60);
    expect([await visit(two, token), await visit(three, token)]).to.deep.equal([401, 401]);
  });

  it("belong to the issuer in auth.sharedIssuer, whichever issuer was first", async () => {
    const first = await start(customers);
    expect(await visit(first, await tokenOf(customers))).to.equal(200);
    const said = await start(partners, { sharedIssuer: partners });
    const token = await tokenOf(partners);
    expect(await visit(said, token)).to.equal(200);
    await redis.set("auth:cutoff:42", nowSeconds(), "EX", 60);
    expect(await visit(said, token)).to.equal(401);
    await until(async () => (await redis.get(marker)) === issuerDigest(partners));
    // What began with them goes on with them, or its own revocations would be lost; it is told.
    expect(await visit(first, await tokenOf(customers))).to.equal(401);
    const later = await start(customers);
    expect(await visit(later, await tokenOf(customers))).to.equal(200);
    expect(await findings(later)).to.include("shared_issuer_taken");
  });

  it("are nobody's of a gate that says false, which takes them from nobody", async () => {
    const apart = await start(partners, { sharedIssuer: false });
    await apart.gate.revocations.revokeSubject("42");
    await apart.gate.revocations.revoke({ jti: "7", expiresAt: nowSeconds() + 60 });
    expect(await redis.exists(marker, "auth:cutoff:42", "auth:revoked:7")).to.equal(0);
    expect(await visit(apart, await tokenOf(partners))).to.equal(401);
    expect(await findings(apart)).not.to.include("shared_issuer_taken");
  });

  it("are those of a gate without an issuer too, unless they are another's", async () => {
    const nobody = await start(undefined);
    expect(await visit(nobody, await tokenOf(customers))).to.equal(200);
    expect(await redis.get(marker)).to.equal(noIssuer);
    await redis.set("auth:revoked:7", "revoked", "EX", 60);
    expect(await visit(nobody, await tokenOf(partners))).to.equal(401);
    const named = await start(customers);
    expect(await visit(named, await tokenOf(customers))).to.equal(200);
  });

  it("have the failed log-ins of a gate that verifies no tokens, unless they belong to another issuer", async () => {
    const failed = async (account: string): Promise<void> => {
      const app = await adapters[0]!.start({
        options: { redis: server.url, logger: silentLogger, deadline: 1000 },
        use: (gate) => [gate.throttleLogin({ account: () => account })],
        routes: { "POST /login": async ({ loginAttempt }) => loginAttempt?.fail() },
      });
      await app.gate.examine();
      await send(`${app.url}/login`, { method: "POST" });
      await app.close();
    };
    await failed("alice");
    expect(await redis.get("auth:failed:alice")).to.equal("1");
    expect(await redis.exists(marker), "it takes them from nobody").to.equal(0);
    await visit(await start(customers), await tokenOf(customers));
    await failed("bob");
    expect(await redis.exists("auth:failed:bob")).to.equal(0);
    expect(await redis.get(`portcullis:2:failed:${noIssuer}:bob`)).to.equal("1");
  });

  it("are known before the first answer: a hundred first requests wait for one look and get theirs", async () => {
    const app = await start(customers);
    const token = await tokenOf(customers);
    const statuses = await Promise.all(Array.from({ length: 100 }, () => visit(app, token)));
    expect(new Set(statuses)).to.deep.equal(new Set([200]));
  });

  it("are marked for as long as a record may live in them, and the mark is made anew when it is lost", async () => {
    const app = await start(customers, { auth: { ...testAuth, issuer: customers, maxLifetime: "60d" } });
    expect(await visit(app, await tokenOf(customers))).to.equal(200);
    expect(await redis.ttl(marker)).to.be.within(60 * 86_400, 60 * 86_400 + 600);
    await redis.set("auth:revoked:7", "revoked", "EX", 60);
    await until(async () => (await redis.keys("portcullis:2:marker:*")).length > 0);
    await redis.del(marker, ...(await redis.keys("portcullis:2:marker:*")));
    await until(async () => (await redis.get(marker)) === issuerDigest(customers));
    expect(await visit(app, await tokenOf(customers)), "the decision stays").to.equal(401);
  });

  it("stay with the issuer that had them when the mark is lost, if only gates of another notice it", async () => {
    const first = await start(customers);
    expect(await visit(first, await tokenOf(customers))).to.equal(200);
    const second = await start(partners);
    const token = await tokenOf(partners);
    expect(await visit(second, token)).to.equal(200);
    await first.close();
    await until(async () => (await redis.keys("portcullis:2:marker:*")).length > 0);
    await redis.del(marker, ...(await redis.keys("portcullis:2:marker:*")));
    await until(async () => (await redis.exists(marker)) === 1);
    expect(await redis.get(marker)).to.equal(issuerDigest(customers));
    const third = await start(partners);
    expect(await visit(third, token)).to.equal(200);
    await second.gate.revocations.revoke({ jti: "7", expiresAt: nowSeconds() + 60 });
    expect(await visit(third, token), "gates of one issuer decide alike").to.equal(401);
  });

  it("are told to be anew those of a gate that has begun to keep its own, which other processes do not see", async () => {
    await visit(await start(customers), await tokenOf(customers));
    const second = await start(partners);
    expect(await visit(second, await tokenOf(partners))).to.equal(200);
    await until(async () => (await redis.keys("portcullis:2:marker:*")).length > 0);
    await redis.set(marker, issuerDigest(partners), "EX", 1000);
    await redis.del(await redis.keys("portcullis:2:marker:*"));
    await until(async () => (await second.gate.examine()).some(({ message }) => message.includes("start it anew")));
    expect(await findings(second)).to.include("shared_issuer_taken");
  });

  it("are told to be those of one of several issuers of a gate that does not use them", async () => {
    const several = { auth: { ...testAuth, issuer: [customers, partners] } };
    const alone = await start(undefined, several);
    expect(await findings(alone), "while nobody has them").not.to.include("shared_issuer_taken");
    const token = await tokenOf(customers);
    const one = await start(customers);
    expect(await visit(one, token)).to.equal(200);
    const two = await start(undefined, several);
    expect(await visit(two, token)).to.equal(200);
    await until(async () => (await findings(two)).includes("shared_issuer_taken"));
    const said = await start(undefined, { auth: { ...several.auth, sharedIssuer: customers } });
    expect(await findings(said)).not.to.include("shared_issuer_taken");
    await one.gate.revocations.revoke({ jti: "7", expiresAt: nowSeconds() + 60 });
    expect(await visit(said, token)).to.equal(401);
    const strangers = await start(undefined, { auth: { ...testAuth, issuer: ["https://third.test", partners] } });
    expect(await findings(strangers)).not.to.include("shared_issuer_taken");
  });

  it("are told apart as soon as a Redis that took no writes takes them again", async () => {
    await redis.config("SET", "maxmemory", "1");
    const [first, second] = [await start(customers), await start(partners)];
    const [ofCustomer, ofPartner] = [await tokenOf(customers), await tokenOf(partners)];
    expect([await visit(first, ofCustomer), await visit(second, ofPartner)]).to.deep.equal([200, 200]);
    await redis.config("SET", "maxmemory", "0");
    await first.gate.revocations.revokeSubject("42");
    expect([await visit(first, ofCustomer), await visit(second, ofPartner)]).to.deep.equal([401, 200]);
    await second.gate.revocations.revoke({ jti: "7", expiresAt: nowSeconds() + 60 });
    expect(await visit(second, ofPartner), "a token that was seen before is asked about anew").to.equal(401);
    expect(await redis.exists("auth:revoked:7")).to.equal(0);
  });

  it("are logged once, with the option to set, and without the name of an issuer", async () => {
    await visit(await start(customers), await tokenOf(customers));
    const said: string[] = [];
    const logger = { debug: () => undefined, warn: (...words: unknown[]) => void said.push(JSON.stringify(words)) };
    const app = await start(partners, { logger });
    expect(await visit(app, await tokenOf(partners))).to.equal(200);
    await until(() => said.some((words) => words.includes("persistence_off"))); // the examination has said all it found
    const warnings = said.filter((words) => words.includes("shared_issuer_taken"));
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.include("say auth.sharedIssuer: false").and.to.include("operations.md#shared_issuer_taken");
    expect(said.join()).not.to.match(/customers|partners/);
  });

  for (const onStoreError of ["deny", "allow"] as const) {
    it(`are unknown while Redis never answered, which is an outage, with onStoreError "${onStoreError}"`, async () => {
      await redis.mset(marker, issuerDigest(partners), "auth:revoked:7", "revoked");
      server.pause();
      cleanUp(() => server.resume());
      const app = await start(customers, { revocation: { onStoreError }, deadline: 200 });
      const token = await tokenOf(customers);
      expect(await visit(app, token)).to.equal(onStoreError === "deny" ? 503 : 200);
      expect((await send(`${app.url}/me`)).status).to.equal(401);
      const error = await rejectionOf(app.gate.revocations.revokeSubject("42"));
      expect(error).to.include({ name: "StoreFault" });
      server.resume();
      await until(async () => (await findings(app)).includes("shared_issuer_taken"));
      await until(async () => (await visit(app, token)) === 200);
      await app.gate.revocations.revokeSubject("42");
      await until(async () => (await visit(app, token)) === 401);
      expect(await redis.exists("auth:cutoff:42")).to.equal(0);
    });
  }

  it("are unknown while the mark cannot be read, which is 503 and no open door", async () => {
    await redis.lpush(marker, "x");
    const app = await start(customers);
    const token = await tokenOf(customers);
    expect(await visit(app, token)).to.equal(503);
    await redis.del(marker);
    await until(async () => (await visit(app, token)) === 200);
  });

  it("are used on a Redis that takes no writes as if they were ours, where nobody has them", async () => {
    await redis.config("SET", "maxmemory", "1");
    const app = await start(customers);
    expect(await visit(app, await tokenOf(customers))).to.equal(200);
    await redis.config("SET", "maxmemory", "0");
  });

  it("are told apart on a Cluster too", async () => {
    const cluster = await startCluster({ masters: 3 });
    cleanUp(() => cluster.stop());
    const client = new Cluster([...cluster.seeds]);
    cleanUp(() => client.disconnect());
    const first = await start(customers, { redis: client });
    expect(await visit(first, await tokenOf(customers))).to.equal(200);
    const second = await start(partners, { redis: client });
    expect(await visit(second, await tokenOf(partners))).to.equal(200);
    await second.gate.revocations.revokeSubject("42");
    await second.gate.sessions.revokeAll("42");
    expect([await visit(first, await tokenOf(customers)), await visit(second, await tokenOf(partners))]).to.deep.equal([
      200, 401,
    ]);
  });
});
