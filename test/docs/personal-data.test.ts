import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { testAudience, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { Redis } from "ioredis";
import { accountKeys } from "../../packages/core/src/login/login-keys.js";
import { normalizeAccount } from "../../packages/core/src/login/account-name.js";
import { IssuerScope } from "../../packages/core/src/auth/issuer-scope.js";
import { Keyspace } from "../../packages/core/src/store/keyspace.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, operate, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";
import { sectionOf } from "./documents.js";
import type { Programs } from "./programs.js";
import { openPrograms } from "./programs.js";

interface Person {
  readonly subject: string;
  readonly issuer: string;
  readonly accounts: readonly string[];
  readonly addresses: readonly string[];
}

/** The program in docs/personal-data.md. */
interface Program {
  readonly erase: (
    person: Person,
    options: { gate: ExpressGate; redis: Redis; prefix: string; keySecret: string; limits: readonly string[] },
  ) => Promise<number>;
}

interface User extends Person {
  readonly userAgent: string;
}

const keySecret = "the key secret of this test, and long enough";
const issuer = testIssuer;
const bob: User = {
  ...{ issuer, subject: "bob", accounts: ["bob@example.org"], addresses: ["198.51.100.4"], userAgent: "Bob's browser" },
};

/** Users whose names are readable in Redis, or digests. */
const users: Readonly<Record<string, User>> = {
  "a plain subject": {
    ...{ issuer, subject: "user-7f3a", accounts: ["Jane.Doss@Example.com"], addresses: ["203.0.113.9"] },
    userAgent: "Jane's browser",
  },
  "a subject and a name with other characters": {
    ...{
      issuer,
      subject: "auth0|zo\u00eb strau\u00df",
      accounts: ["Zo\u00eb Strau\u00df"],
      addresses: ["203.0.113.10"],
    },
    userAgent: "Zoe's browser",
  },
};

describe("the page on personal data", function () {
  this.timeout(30_000);
  let programs: Programs;

  before(async () => {
    programs = await openPrograms("docs/personal-data.md", { "erase.ts": "export async function erase(" });
  });
  after(() => programs.remove());

  for (const [name, user] of Object.entries(users)) {
    it(`tells how to erase a user with ${name}: then nothing in Redis tells of them, and other users are as before`, async () => {
      const prefix = freshPrefix();
      const redis = operate(testRedisUrl());
      const { gate, url } = await startShop(prefix);
      await use(gate, url, bob);
      const before = await dump(redis, prefix);
      await use(gate, url, user);
      const traces = tracesOf(user, prefix);
      const used = await dump(redis, prefix);
      const found = traces.filter((trace) => [...used].some((entry) => contains(entry, trace)));
      expect(found, "the test uses what it looks for").to.deep.equal(traces);

      await gate.sessions.revokeAll(gate.principal({ subject: user.subject }));
      const { erase } = await programs.load<Program>("erase.ts");
      const limits = ["user", "sliding"];
      const count = await erase(user, { gate, redis, prefix, keySecret, limits });
      expect(count).to.be.greaterThan(10);

      const left = await dump(redis, prefix);
      for (const trace of traces)
        expect([...left].filter((entry) => contains(entry, trace)).map(String), trace).to.deep.equal([]);
      const added = [...left.keys()].filter((key) => !before.has(key));
      expect(added.filter((key) => !mayStay(key.slice(prefix.length)))).to.deep.equal([]);
      const ofBob = [...before].filter((entry) => tracesOf(bob, prefix).some((trace) => contains(entry, trace)));
      expect(ofBob.length).to.be.greaterThan(10);
      const isShared = (key: string): boolean => /:quota-(?:rules|demand):/.test(key);
      for (const [key, value] of ofBob) if (!isShared(key)) expect(left.get(key), key).to.equal(value);
      const again = await erase(user, { gate, redis, prefix, keySecret, limits });
      expect(again, "a second time it deletes only the generation that it has renewed").to.be.at.most(1);
    });
  }

  it("has a row for every family of keys in docs/operations.md", () => {
    const families = Array.from(
      sectionOf("docs/operations.md", "All keys and channels").matchAll(/`((?:auth|portcullis:2):[a-z_.-]+)/g),
      ([, family = ""]) =>
        family
          .replace(/^portcullis:2:(revoked|cutoff|failed|user_tokens|org_tokens)$/, "auth:$1")
          .replace(/^portcullis:2:quota-(?!rules|demand).*$/, "portcullis:2:quota"),
    );
    expect(families.length).to.be.greaterThan(40);
    const text = sectionOf("docs/personal-data.md", "In Redis");
    const missing = [...new Set(families)].filter((family) => !withoutPersons.has(family) && !text.includes(family));
    expect(missing).to.deep.equal([]);
  });
});

/** Families that hold nothing about a person. */
const withoutPersons = new Set([
  ...["portcullis:2:shared-issuer", "portcullis:2:marker", "portcullis:2:making", "portcullis:2:withdrawn"],
  ...["portcullis:2:lock", "portcullis:2:leader", "portcullis:2:channel"],
]);

/** What the page says ends by itself: random ids, and data of the gate itself. */
function mayStay(key: string): boolean {
  return [
    /^auth:revoked:[0-9A-Za-z_-]+$/,
    /^portcullis:2:cutoff:sid:/,
    /^portcullis:2:give-backs:/,
    /^portcullis:2:(?:marker|shared-issuer|quota-demand|quota-rules)/,
  ].some((form) => form.test(key));
}

/** A shop in which a user leaves traces everywhere. */
async function startShop(prefix: string): Promise<{ gate: ExpressGate; url: string }> {
  const common = { limit: 1000, window: "1h" } as const;
  const gate = portcullis({
    ...{ redis: testRedisUrl(), prefix, keySecret, deadline: 1000, logger: silentLogger, service: "shop" },
    tokens: { signingKey: testSecret, issuer, audience: testAudience },
    cache: { ttl: "1h" },
    limits: [
      { ...common, name: "ip", per: "ip" },
      { ...common, name: "user", per: "user" },
      { ...common, name: "sliding", per: "user", algorithm: "sliding-window" },
      { ...common, name: "together", per: ["user", "ip"] },
    ],
  });
  const app = express();
  app.set("trust proxy", 1).set("env", "test");
  const device = { secret: "a secret of the test, and long enough" };
  const throttle = gate.throttleLogin({
    account: (req) => JSON.parse(String(req.headers["x-account"])) as unknown,
    device,
  });
  app.post("/login", throttle, async (req, res) => {
    if (req.headers["x-password"] !== "right") return void res.sendStatus(401);
    const issued = await gate.tokens.issue({
      subject: JSON.parse(String(req.headers["x-subject"])) as string,
      ...{ org: "acme", claims: { name: "a customer" }, attempt: req.loginAttempt },
      device: { ip: req.ip, userAgent: req.get("user-agent"), label: "at home" },
    });
    res.json(issued.response);
  });
  app.use(gate.guard());
  app.get("/me", async (req, res) => {
    const mine = req.cache.forUser();
    await mine.getOrSet({ key: "profile", tags: ["profiles"] }, () => ({ subject: req.auth?.subject }));
    await mine.namespace("flags").set("beta", true);
    await gate.oneTime.issue("confirm-email", { to: req.auth?.subject }, { ttl: "1h", subject: req.auth });
    res.json({});
  });
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await gate.close();
  });
  return { gate, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function use(gate: ExpressGate, url: string, { subject, accounts, addresses, userAgent }: User): Promise<void> {
  const [account, from = ""] = [accounts[0], addresses[0]];
  const headers = { "x-account": ascii(account), "x-subject": ascii(subject), "user-agent": userAgent };
  for (const password of ["wrong", "right"]) {
    const { json } = await send(`${url}/login`, {
      method: "POST",
      from,
      headers: { ...headers, "x-password": password },
    });
    if (password === "wrong") continue;
    const { access_token: token } = json as { access_token: string };
    expect((await send(`${url}/me`, { token, from })).status).to.equal(200);
  }
  await send(`${url}/login`, { method: "POST", from, headers: { ...headers, "x-password": "wrong" } });
  const user = gate.principal({ subject });
  await gate.quotas.setOverride("user", user, { limit: 2000 });
  await gate.quotas.block("sliding", user, { for: "1h" });
  await until(async () => (await gate.quotas.busiest({ policy: "user" })).some(({ key }) => key === user));
}

/** JSON without characters that a header field cannot have. */
function ascii(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Texts that stand for a user in Redis: readable ones, and the digests that core makes. */
function tracesOf({ subject, accounts, addresses, userAgent }: User, prefix: string): string[] {
  const keys = new Keyspace(prefix, keySecret, { issuers: new IssuerScope({ known: [issuer], own: issuer }) });
  const names = accounts.map((name) => normalizeAccount(name) ?? "");
  const digests = names.flatMap((name) => {
    const { owner, spelling } = accountKeys(keys, "login", name);
    return [owner, spelling];
  });
  const clients = addresses.flatMap((address) => [address, keys.digest(address)]);
  return [...new Set([subject, userAgent, ...names, ...clients, ...digests])];
}

function contains([key, value]: readonly [string, string], trace: string): boolean {
  const escaped = trace.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  // A short name such as bob may be a part of a random text.
  return new RegExp(`(?<![A-Za-z0-9])${escaped}(?![A-Za-z0-9])`).test(`${key}\n${value}`);
}

/** All keys with their values as text. */
async function dump(redis: Redis, prefix: string): Promise<Map<string, string>> {
  const keys = await redis.keys(`${prefix}*`);
  const entries = await Promise.all(keys.map(async (key) => [key, await readText(redis, key)] as const));
  return new Map(entries);
}

async function readText(redis: Redis, key: string): Promise<string> {
  switch (await redis.type(key)) {
    case "string":
      return (await redis.get(key)) ?? "";
    case "set":
      return JSON.stringify((await redis.smembers(key)).sort());
    case "zset":
      return JSON.stringify(await redis.zrange(key, "0", "-1", "WITHSCORES"));
    case "hash":
      return JSON.stringify(await redis.hgetall(key));
    default:
      return "";
  }
}
