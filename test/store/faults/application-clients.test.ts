import { expect } from "chai";
import { Cluster, Command, Redis } from "ioredis";
import { Cluster as Cluster5, Redis as Redis5 } from "ioredis5";
import { nowSeconds, signToken, startCluster, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisCluster, RedisServer } from "@portcullis/testkit";
import type { RedisLike } from "@portcullis/core";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { issuerDigest } from "../../support/issuer-digest.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";

type OwnClient = RedisLike & { disconnect(): void };

interface Address {
  readonly host: string;
  readonly port: number;
}

const safe = { enableOfflineQueue: false, maxRetriesPerRequest: 0, socketTimeout: 2000 } as const;
const variants = [
  {},
  { stringNumbers: true },
  // With both, a Cluster of ioredis 5 and 6 finds no node for a part of the slots: it compares their numbers as text.
  { enableAutoPipelining: true },
  { stringNumbers: true, keyPrefix: "app:" },
  { stringNumbers: true, keyPrefix: "{app}:" },
  { showFriendlyErrorStack: true },
  { protocol: 3 },
  { protocol: 3, stringNumbers: true },
] as const;

describe("a gate on a client that the application made", function () {
  this.timeout(60_000);
  let server: RedisServer;
  let cluster: RedisCluster;

  before(async () => {
    [server, cluster] = await Promise.all([startRedis(), startCluster({ masters: 3 })]);
  });
  after(async () => {
    await Promise.all([server.stop(), cluster.stop()]);
  });

  const topologies = {
    "ioredis 6": (more: object) => new Redis({ host: server.host, port: server.port, ...safe, ...more }),
    "ioredis 5": (more: object) => new Redis5({ host: server.host, port: server.port, ...safe, ...more }),
    "ioredis 6 on Cluster": (more: object) =>
      new Cluster([...cluster.seeds], { ...more, redisOptions: { ...safe, ...more } }),
    "ioredis 5 on Cluster": (more: object) =>
      new Cluster5([...cluster.seeds], { ...more, redisOptions: { ...safe, ...more } }),
  } as const satisfies Record<string, (more: object) => OwnClient>;

  async function start(client: OwnClient, options: Partial<AnyOptions> = {}, index = 0): Promise<RunningApp> {
    cleanUp(() => client.disconnect());
    const app = await adapters[index % adapters.length]!.start({
      options: {
        ...{ redis: client, auth: testAuth, deadline: 2000, logger: silentLogger },
        limits: [
          { name: "ip", per: "ip", limit: 1000, window: "1m" },
          { name: "user", per: "user", limit: 3, window: "1m", algorithm: "sliding-window" },
        ],
        ...options,
      },
      routes: {
        "GET /me": async ({ quotas, cache }) => ({
          quotas: quotas.map(({ policy, remaining }) => [policy, remaining]),
          value: await cache.getOrSet({ key: "k", shared: true }, () => ({ a: 1 })),
        }),
        "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
      },
    });
    await until(() => app.gate.health().store.status === "up");
    return app;
  }

  for (const [name, make] of Object.entries(topologies)) {
    variants.forEach((variant, index) => {
      it(`revokes, counts and caches as ever: ${name}, ${JSON.stringify(variant)}`, async () => {
        const { url, gate } = await start(make(variant), {}, index);
        const user = `user-${name}-${index}`;
        const token = await signToken({ sub: user });
        const me = async (one = token) => send(`${url}/me`, { token: one });
        const first = await me();
        expect(first.status).to.equal(200);
        expect(first.json).to.deep.include({ value: { a: 1 } });
        expect((first.json as { quotas: unknown[][] }).quotas[1]).to.deep.equal(["user", 2]);
        expect(first.headers.ratelimit).to.match(/^"ip";r=\d+;t=\d+, "user";r=2;t=\d+$/);
        expect((await send(`${url}/logout`, { method: "POST", token })).status).to.equal(204);
        expect((await me()).status, "after the logout").to.equal(401);
        const second = await signToken({ sub: user, iat: nowSeconds() - 10 });
        expect((await me(second)).status, "the third of three").to.equal(200);
        expect((await me(second)).status, "the fourth of three").to.equal(429);
        await gate.revocations.revokeSubject(user);
        expect((await me(second)).status, "after logging out everywhere").to.equal(401);
      });
    });

    it(`lets no token pass beside a poisoned security key: ${name}`, async () => {
      const client = make({ stringNumbers: true });
      const { url } = await start(client, { limits: [] });
      const poisons = {
        "auth:revoked": [401, ["LPUSH", "SADD", "SET"]],
        "auth:cutoff": [503, ["LPUSH", "SADD", "SET"]],
        [`portcullis:2:cutoff:sid:${issuerDigest()}`]: [503, ["LPUSH", "SADD", "SET"]],
      } as const;
      for (const [family, [expected, commands]] of Object.entries(poisons)) {
        for (const command of commands) {
          const id = `${family.replaceAll(":", "-")}-${command}`;
          const token = await signToken({ sub: id, jti: id, sid: id });
          expect((await send(`${url}/me`, { token })).status).to.equal(200);
          await client.call(command, `${family}:${id}`, "nan");
          expect((await send(`${url}/me`, { token })).status, id).to.equal(expected);
          await client.call("DEL", `${family}:${id}`);
          expect((await send(`${url}/me`, { token })).status).to.equal(200);
        }
      }
    });
  }

  /** A client of the application that changes commands on their way, and with them the keys of scripts. */
  const changed = {
    subclass: (options: Address) =>
      new (class extends Redis {
        override call(command: string, ...args: unknown[]): Promise<unknown> {
          return super.call(command, ...(withTenant(command, args) as string[]));
        }
      })(options),
    "patched client": (options: Address) => {
      const client = new Redis(options);
      const call = client.call.bind(client) as RedisLike["call"];
      return Object.assign(client, {
        call: (command: string, ...args: string[]) => call(command, ...(withTenant(command, args) as string[])),
      });
    },
    proxy: (options: Address) => {
      const call: RedisLike["call"] = (command, ...args) =>
        client.call(command, ...(withTenant(command, args) as string[]));
      const client = new Redis(options);
      return new Proxy(client, {
        get: (target, name) => (name === "call" ? call : (Reflect.get(target, name) as unknown)),
      });
    },
  } as const satisfies Record<string, (options: Address) => OwnClient>;

  function withTenant(command: string, args: readonly unknown[]): unknown[] {
    if (!/^eval/i.test(command)) return [...args];
    const [script, keys, ...rest] = args;
    return [script, keys, ...rest.map((word, index) => (index < Number(keys) ? `tenant:${String(word)}` : word))];
  }

  for (const [name, make] of Object.entries(changed)) {
    it(`asks and revokes through the same method of the client: ${name}`, async () => {
      const { url } = await start(make({ host: server.host, port: server.port, ...safe }));
      const plain = new Redis(server.port, server.host);
      cleanUp(() => plain.disconnect());
      const token = await signToken({ sub: `user-${name}`, jti: `token-${name}` });
      expect((await send(`${url}/me`, { token })).status).to.equal(200);
      expect((await send(`${url}/logout`, { method: "POST", token })).status).to.equal(204);
      expect(await plain.exists(`tenant:auth:revoked:token-${name}`)).to.equal(1);
      expect((await send(`${url}/me`, { token })).status).to.equal(401);
    });
  }

  it("answers 503 and says so, where a transformer of replies leaves nothing to read", async () => {
    const said: unknown[] = [];
    const logger = { debug: () => undefined, warn: (...words: unknown[]) => void said.push(words) };
    const { url } = await start(topologies["ioredis 6"]({}), { limits: [], logger });
    const token = await signToken();
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
    const name = "EVALSHA";
    Command.setReplyTransformer(name, () => ({ done: true }));
    cleanUp(() => Command.setReplyTransformer(name, (reply: unknown) => reply));
    expect((await send(`${url}/me`, { token })).status).to.equal(503);
    expect((await send(`${url}/me`, { token })).status).to.equal(503);
    const lines = said.filter((words) => /reply of the Redis client/.test(JSON.stringify(words)));
    expect(lines.filter((words) => JSON.stringify(words).includes('"batch"'))).to.have.length(1);
    Command.setReplyTransformer(name, (reply: unknown) => reply);
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
  });

  for (const keyPrefix of ["", "app:"]) {
    it(`hears of revocations by other processes with a keyPrefix of "${keyPrefix}"`, async () => {
      const options: Partial<AnyOptions> = { limits: [], revocation: { check: "tracked", staleness: "50s" } };
      const [one, other] = [
        await start(topologies["ioredis 6"]({ keyPrefix, protocol: 3 }), options),
        await start(topologies["ioredis 5"]({ keyPrefix }), { limits: [] }),
      ];
      const token = await signToken();
      for (let round = 0; round < 20; round += 1) expect((await send(`${one.url}/me`, { token })).status).to.equal(200);
      expect((await send(`${other.url}/logout`, { method: "POST", token })).status).to.equal(204);
      await until(async () => (await send(`${one.url}/me`, { token })).status === 401);
    });
  }
});
