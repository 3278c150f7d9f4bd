import { createHash, randomUUID } from "node:crypto";
import {
  TestIssuer,
  accessTokenHash,
  createDpopClient,
  nowSeconds,
  testAudience,
  testIssuer,
  testSecret,
} from "@portcullis/testkit";
import { secure } from "@portcullis/socket.io";
import { expect } from "chai";
import { Redis } from "ioredis";
import { Server } from "socket.io";
import { io as connectSocket } from "socket.io-client";
import { adapters } from "./app.js";
import type { AnyOptions, RunningApp, TestApp } from "./app.js";
import { form, send } from "./http.js";
import { silentLogger } from "./logger.js";
import { startLogin } from "./login.js";
import { freshPrefix, testRedisUrl } from "./redis.js";
import { until } from "./until.js";

/** The type and the life of a key that gates have written. */
export interface UsedKey {
  /** The reply of Redis to TYPE. */
  readonly type: string;
  /** The minimum of its remaining life at all readings, in ms; -1 if one reading showed no end. */
  readonly minLeftMs: number;
}

/** The keys and channels of gates that use every feature. */
export interface UsedKeys {
  /** By name, without the prefix. */
  readonly keys: ReadonlyMap<string, UsedKey>;
  readonly channels: ReadonlySet<string>;
  /** Digests of the issuers of these gates. */
  readonly issuers: readonly string[];
  /** Their services, as keys contain them. */
  readonly services: readonly string[];
}

/** All keys at one time: some keys live for less than a second. */
const lookScript = `
local out = {}
for i, key in ipairs(redis.call('KEYS', ARGV[1])) do
  out[i] = { key, redis.call('TYPE', key).ok, redis.call('PTTL', key) }
end
return out`;

/** Longer than what shared keys take literally. */
const long = "x".repeat(600);

/** Uses everything that a gate keeps in Redis, of three gates with different issuers and services, and watches the keys. */
export async function collectUsedKeys(): Promise<UsedKeys> {
  const prefix = freshPrefix();
  const redis = new Redis(testRedisUrl());
  const issuer = await TestIssuer.start();
  const keys = new Map<string, UsedKey>();
  const channels = new Set<string>();
  const apps: RunningApp[] = [];

  async function look(): Promise<void> {
    for (const [name, type, leftMs] of (await redis.eval(lookScript, 0, `${prefix}*`)) as [string, string, number][]) {
      const key = name.slice(prefix.length);
      keys.set(key, { type, minLeftMs: Math.min(leftMs, keys.get(key)?.minLeftMs ?? leftMs) });
    }
    for (const name of (await redis.call("PUBSUB", "CHANNELS", `${prefix}*`)) as string[])
      channels.add(name.slice(prefix.length));
  }

  async function start(options: Partial<AnyOptions> = {}, rest: Partial<TestApp> = {}): Promise<RunningApp> {
    const [express] = adapters;
    const common = { redis: testRedisUrl(), prefix, deadline: 1000, logger: silentLogger };
    const app = await express?.start({ options: { ...common, ...options }, routes: {}, ...rest });
    if (app === undefined) throw new Error("there is no adapter");
    apps.push(app);
    return app;
  }

  async function askLimits(): Promise<void> {
    const common = { limit: 100, window: "1m" } as const;
    const app = await start(
      {
        ...{ service: "orders-api", tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAudience } },
        limits: [
          { ...common, name: "ip", per: "ip" },
          { ...common, name: "leased", per: "ip", precision: "leased" },
          { ...common, name: "sliding", per: "user", algorithm: "sliding-window" },
          { ...common, name: "bucket", per: { claim: "plan" }, limit: 5, algorithm: "token-bucket" },
          { ...common, name: "slots", per: ["ip", { header: "x-key" }], algorithm: "concurrency" },
          { ...common, name: "custom", per: ({ headers }) => String(headers["x-key"]) },
          { ...common, name: "block", per: "ip", limit: 1, block: { after: 1, for: "1m" }, when: { path: "/block" } },
        ],
      },
      { routes: { "GET /me": look, "GET /block": look } },
    );
    const { accessToken: token } = await app.gate.tokens.issue({ subject: "alice", claims: { plan: "pro" } });
    const headers = { "x-key": "any key" };
    expect((await send(`${app.url}/me`, { token, headers })).status).to.equal(204);
    for (const status of [204, 429, 429])
      expect((await send(`${app.url}/block`, { token, headers })).status).to.equal(status);
    await app.gate.quotas.setOverride("ip", "192.0.2.9", { limit: 7 });
    await app.gate.quotas.busiest({ policy: "ip" });
    await until(async () => {
      await look();
      return [...keys.keys()].some((key) => key.includes(":give-backs:"));
    });
    await until(async () => {
      await app.gate.examine();
      await look();
      return [...keys.keys()].some((key) => key.endsWith(":examination"));
    });
  }

  async function keepSessions(): Promise<void> {
    const tokens = { signingKey: testSecret, issuer: testIssuer, audience: testAudience };
    const { gate } = await start({ service: "orders-api", tokens, revocation: { check: "tracked" } });
    gate.sessions.onRevoked(() => undefined);
    const { refreshToken } = await gate.tokens.issue({ subject: "alice", org: "acme" });
    await gate.tokens.refresh(refreshToken);
    await look();
    await gate.sessions.revokeAll("bob");
    await gate.revocations.revokeSubject(long);
    await gate.sessions.revokeGroup("globex");
    const expiresAt = nowSeconds() + 60;
    for (const jti of ["j", long]) await gate.revocations.revoke({ jti, expiresAt });
    await look();
  }

  async function useTokensOfOthers(): Promise<void> {
    const remoteKeys = { allowPrivateAddresses: true };
    const publicUrl = "https://api.example.com";
    const app = await start(
      {
        publicUrl,
        auth: { issuer: issuer.url, audience: testAudience, remoteKeys, sharedIssuer: false, dpop: true },
      },
      {
        use: (gate) => [gate.routes.backchannelLogout({ audience: "shop" }), gate.guard()],
        routes: { "GET /me": look },
      },
    );
    const client = await createDpopClient();
    const token = await issuer.sign({ cnf: { jkt: client.thumbprint } });
    const dpop = await client.proof({ htm: "GET", htu: `${publicUrl}/me`, ath: accessTokenHash(token) });
    const answer = await send(`${app.url}/me`, { headers: { authorization: `DPoP ${token}`, dpop } });
    expect(answer.status).to.equal(204);
    const logout = await issuer.sign(
      {
        ...{ aud: "shop", sub: undefined, sid: "session", jti: randomUUID() },
        events: { "http://schemas.openid.net/event/backchannel-logout": {} },
      },
      { typ: "logout+jwt" },
    );
    expect((await form(`${app.url}/backchannel-logout`, { logout_token: logout })).status).to.equal(200);
    const { revocations } = app.gate;
    const expiresAt = nowSeconds() + 60;
    await revocations.revoke({ issuer: issuer.url, jti: "theirs", expiresAt });
    await revocations.revoke({ token: await issuer.sign({ jti: undefined }), expiresAt });
    await revocations.revokeSubject("carol");
    await app.gate.cache.set("of a service known by its audience", 1);
    await look();
  }

  async function keepValues(): Promise<void> {
    const { gate, url } = await start(
      { service: "orders-api", auth: undefined, cache: { tracked: ["n"] } },
      {
        use: (one) => [one.cacheResponse({ ttl: "1m", tags: ["pages"] })],
        routes: { "GET /page": () => ({}) },
      },
    );
    const lock = await gate.locks.acquire(["a", long]);
    await Promise.all([gate.locks.acquire("a", { wait: 500 }).catch(() => undefined), look()]);
    const leader = gate.leader("l");
    leader.start();
    await until(() => leader.isLeader);
    await look();
    await lock.release();
    const views = [gate.cache, gate.cache.namespace("n"), gate.cache.forUser("alice"), gate.cache.forTenant("acme")];
    for (const view of views) {
      await view.getOrSet({ key: "a key", tags: ["t"] }, async () => {
        await look();
        return 1;
      });
      await view.clear();
    }
    expect((await send(`${url}/page`)).status).to.equal(200);
    await gate.responses.purgePath("/page");
    await until(async () => {
      await look();
      return [...keys.keys()].some((key) => key.includes(":response:"));
    });
  }

  async function coordinate(): Promise<void> {
    const { gate } = await start({ service: "orders-api", auth: undefined });
    for (const subject of [undefined, "alice", "alice@example.org"])
      await gate.oneTime.issue("confirm-email", 1, { ttl: "1m", subject });
    for (const [name, reliable] of [
      ["orders", true],
      ["news", false],
    ] as const) {
      const channel = gate.channels.define(name, { schema: (value) => value, reliable });
      await channel.subscribe(() => undefined).ready;
      await channel.publish(1);
    }
    await until(async () => {
      await gate.examine();
      await look();
      return [...keys.keys()].some((key) => key.includes(":lock:") && key.endsWith(":examination"));
    });
  }

  async function signIn(): Promise<void> {
    const device = { secret: "a secret of the test, and long enough" };
    const app = await startLogin(start, { device, accountLimit: { limit: 2 } }, { options: { cache: {} } });
    const { json } = await app.attempt("alice", { password: "right" });
    const cookie = String((json as { cookie: string }).cookie.split(";", 1)[0]);
    await app.attempt("alice", { headers: { cookie } });
    for (const account of ["bob", "bob", "bob", "\u00e4lice", "\u00e9".repeat(300)])
      await app.attempt(account, { from: "203.0.113.7" });
    await look();
    await app.gate.logins.unblock({ account: "bob" });
    await app.gate.cache.set("of a service without a name", 1);
    await look();
  }

  /** Two orders with one key: the second one waits for the first. */
  async function placeOrders(): Promise<void> {
    const { url } = await start(
      { service: "orders-api", auth: undefined },
      {
        use: (gate) => [gate.idempotency({ caller: () => "alice", onConflict: "wait" })],
        routes: {
          "POST /orders": () =>
            until(async () => {
              await look();
              return [...channels].some((name) => name.endsWith(":idempotency"));
            }),
        },
      },
    );
    const order = { method: "POST", headers: { "idempotency-key": "k" } };
    const answers = await Promise.all([send(`${url}/orders`, order), send(`${url}/orders`, order)]);
    expect(answers.map(({ status }) => status)).to.deep.equal([204, 204]);
    await look();
  }

  /** A node of Socket.IO with a socket that loses its connection. */
  async function openSockets(): Promise<void> {
    const tokens = { signingKey: testSecret, issuer: testIssuer, audience: testAudience };
    const { gate, server, url } = await start({ service: "orders-api", tokens });
    const io = new Server(server, { connectionStateRecovery: {} });
    const secured = secure(io, gate as never);
    const { accessToken: token } = await gate.tokens.issue({ subject: "alice" });
    const client = connectSocket(url, { auth: { token }, reconnection: false, forceNew: true });
    await new Promise<void>((resolve) => client.once("connect", resolve));
    await until(async () => {
      io.emit("news", 1);
      await look();
      return [...channels].some((name) => name.includes("socket.io"));
    });
    client.io.engine.close();
    await until(async () => {
      await look();
      return [...keys.keys()].some((key) => key.includes(":states:"));
    });
    await secured.close();
    await io.close();
  }

  try {
    // Signing in first: a gate without auth uses the shared keys only while no issuer has them.
    for (const use of [
      signIn,
      askLimits,
      keepSessions,
      useTokensOfOthers,
      keepValues,
      coordinate,
      placeOrders,
      openSockets,
    ])
      await use();
  } finally {
    for (const app of apps) await app.close();
    await issuer.close();
    redis.disconnect();
  }
  return {
    keys,
    channels,
    issuers: [digest(testIssuer), digest(issuer.url), "0".repeat(32)],
    services: ["orders-api", `~${digest(JSON.stringify([JSON.stringify(["aud", testAudience])]))}`, "default"],
  };
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
