import { once } from "node:events";
import { createHash } from "node:crypto";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/express";
import type { Auth, EndedSessions } from "@portcullis/express";
import { nowSeconds, signToken, testAudience, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import fc from "fast-check";
import type { Redis } from "ioredis";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, operate, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";
import { until } from "../support/until.js";

type Gate = ReturnType<typeof portcullis>;

const id = "https://id.example.com";
const port = `${id}:8443`;
const partners = "https://partners.example.net";
const own = (issuer: string) => ({ signingKey: testSecret, issuer, audience: testAudience });

/** The gates of one Redis, with the issuers of the tokens they get, and whose addresses and logins each counts. */
const kinds = {
  shop: { auth: { issuer: id, sharedIssuer: id }, tokens: own(id), issuers: [id], home: id },
  admin: { auth: { issuer: id, sharedIssuer: id }, tokens: own(id), issuers: [id], home: id },
  mall: { auth: { issuer: [id, partners], sharedIssuer: id }, tokens: undefined, issuers: [id, partners], home: id },
  partners: {
    ...{ auth: { issuer: partners, sharedIssuer: false as const }, tokens: own(partners) },
    ...{ issuers: [partners], home: partners },
  },
  others: {
    ...{ auth: { issuer: [port, partners], sharedIssuer: false as const }, tokens: undefined },
    ...{ issuers: [port, partners], home: "port, partners" },
  },
  open: {
    auth: { issuer: (iss: string) => iss !== id && iss.startsWith("https://"), sharedIssuer: false as const },
    ...{ tokens: undefined, issuers: [port, partners, `${id}:84`, "https://\ud800"], home: "any" },
  },
  none: { auth: { sharedIssuer: false as const }, tokens: undefined, issuers: [id, partners, port], home: "none" },
};
type Kind = keyof typeof kinds;
const all = Object.keys(kinds) as Kind[];

const digestOf = (issuer: string): string => createHash("sha256").update(issuer).digest("hex").slice(0, 32);
const names: readonly string[] = [
  ...["42", "a", "a:b", "8443:acme", "acme", "443:acme", "{a}", "}{", '["a"]', "\u00e9", "e\u0301", "\ud800", "\ufffd"],
  ...[`iss-${digestOf(id)}.42`, `iss-${digestOf(partners)}.42`, `iss-${"0".repeat(32)}.42`, `${digestOf(id)}:42`],
  ...[`iss-${digestOf(id)}.iss-${digestOf(id)}.42`, "~a", "u:42", " ", "x".repeat(600)],
];

/** Somebody whom a token names at a gate. */
interface Somebody {
  readonly gate: Kind;
  readonly issuer: string;
  readonly name: string;
  /** The claim `tenant`. */
  readonly tenant: string;
}

const text = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...names) }, fc.string({ minLength: 1, unit: "binary" }));
const somebody: fc.Arbitrary<Somebody> = fc
  .constantFrom(...all)
  .chain((gate) =>
    fc.record({ gate: fc.constant(gate), issuer: fc.constantFrom(...kinds[gate].issuers), name: text, tenant: text }),
  );

/** The same people in every run; 42, whom each issuer has, at each gate among them. */
const people: readonly Somebody[] = [
  ...all.flatMap((gate) => kinds[gate].issuers.map((issuer) => ({ gate, issuer, name: "42", tenant: "acme" }))),
  ...fc.sample(somebody, { seed: 15, numRuns: 60 }),
];

const issuerOf = ({ gate, issuer }: Somebody): string => (gate === "none" ? "none" : `iss ${issuer}`);
/** The shared keys are of well-formed text up to 512 bytes. */
const isLiteral = (name: string): boolean => name.isWellFormed() && Buffer.byteLength(name) <= 512;
const whose = (...parts: readonly string[]): string => JSON.stringify(parts);

/** Text for a header. */
const ascii = (plain: string): string =>
  JSON.stringify(plain).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

describe("identities of several gates on one Redis, one of .NET among them", function () {
  this.timeout(60_000);
  let prefix: string;
  let gates: Readonly<Record<Kind, Gate>>;
  let url: string;
  let net: Redis;

  beforeEach(async () => {
    prefix = freshPrefix();
    net = operate(testRedisUrl());
    const opened = all.map((kind) => [kind, open(kind)] as const);
    gates = Object.fromEntries(opened) as Record<Kind, Gate>;
    const app = express();
    app.set("trust proxy", 1);
    const routers = new Map(opened.map(([kind, gate]) => [kind as string, routerOf(gate)]));
    app.use((req, res, next) => void routers.get(req.get("x-gate") ?? "")?.(req, res, next));
    const server = app.listen(0, "127.0.0.1");
    cleanUp(() => {
      server.closeAllConnections();
      server.close();
    });
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  function open(kind: Kind): Gate {
    const { auth, tokens } = kinds[kind];
    const keys = { secret: testSecret, algorithms: ["HS256"] as const, audience: testAudience };
    const gate = portcullis({
      ...{ redis: testRedisUrl(), prefix, logger: silentLogger, deadline: 2000, tokens },
      auth: { ...keys, ...auth },
      cache: { tenantClaim: "tenant" },
    });
    cleanUp(() => gate.close());
    return gate;
  }

  function routerOf(gate: Gate): express.Router {
    const router = express.Router();
    const once = { limit: 1, window: "1h" } as const;
    // Of these, the header that a limit counts by is a credential for the response cache, and chooses a response.
    const key = (req: express.Request): string => JSON.parse(req.get("x-name") ?? req.get("x-key") ?? '""') as string;
    const done: RequestHandler = (_req, res) => void res.sendStatus(200);
    router.use(gate.authenticate({ optional: true }));
    router.get("/user", gate.limit({ name: "user", per: "user", ...once }), done);
    router.get("/claim", gate.limit({ name: "claim", per: { claim: "tenant" }, ...once }), done);
    router.get("/both", gate.limit({ name: "both", per: ["user", { claim: "tenant" }], ...once }), done);
    router.get("/ip", gate.limit({ name: "ip", per: "ip", ...once }), done);
    router.get("/header", gate.limit({ name: "header", per: { header: "x-key" }, ...once }), done);
    router.get("/key", gate.limit({ name: "key", per: key, ...once }), done);
    router.get("/stored", gate.cacheResponse({ per: "user", ttl: "1m" }), (req, res) => void res.json(key(req)));
    router.get("/cache", gate.requestCache(), async (req, res) => {
      const user = await req.cache.forUser().getOrSet({ key: "k" }, () => key(req));
      res.json([user, await req.cache.forTenant().getOrSet({ key: "k" }, () => key(req))]);
    });
    const attempts = { limit: 1, window: "1h" } as const;
    router.post(
      "/login",
      gate.throttleLogin({ account: key, pair: attempts, ip: { limit: 1000, window: "1h" } }),
      async (req, res) => {
        await req.loginAttempt?.fail();
        res.sendStatus(401);
      },
    );
    return router;
  }

  function tokenOf({ issuer, name, tenant }: Somebody, claims: object = {}): Promise<string> {
    return signToken({ iss: issuer, sub: name, tenant, jti: name, ...claims });
  }

  async function verify({ gate }: Somebody, token: string): Promise<Auth | undefined> {
    const verdict = await gates[gate].verify(token);
    return verdict.allowed ? verdict.auth : undefined;
  }

  async function admit(one: Somebody, token: string): Promise<Auth> {
    const auth = await verify(one, token);
    expect(auth, JSON.stringify(one)).to.be.an("object");
    return auth!;
  }

  /** Everybody has one request, and nobody takes that of another. */
  async function expectOneEach(
    path: string,
    owner: (one: Somebody, index: number) => string,
    headers: (one: Somebody, index: number) => Record<string, string> = () => ({}),
  ): Promise<void> {
    const seen = new Set<string>();
    for (const [index, one] of people.entries()) {
      const label = owner(one, index);
      const sent = { "x-gate": one.gate, ...headers(one, index) };
      const { status } = await send(url + path, { token: await tokenOf(one), headers: sent });
      expect(status, `${path} of ${JSON.stringify(one)}`).to.equal(seen.has(label) ? 429 : 200);
      seen.add(label);
    }
    expect(seen.size).to.be.above(10);
  }

  it("meet in no limit: of users, of claims, of both", async () => {
    await expectOneEach("/user", (one) => whose(issuerOf(one), one.name));
    await expectOneEach("/claim", (one) => whose(issuerOf(one), one.tenant));
    await expectOneEach("/both", (one) => whose(issuerOf(one), one.name, one.tenant));
  });

  it("meet in no limit: of addresses, of headers, by a function", async () => {
    const address = (index: number): string => `192.0.2.${index % 5}`;
    const headers = ({ name }: Somebody): Record<string, string> => ({ "x-key": ascii(name) });
    await expectOneEach(
      "/ip",
      ({ gate }, index) => whose(kinds[gate].home, address(index)),
      (_one, index) => ({ "x-forwarded-for": address(index) }),
    );
    await expectOneEach("/header", ({ gate, name }) => whose(kinds[gate].home, ascii(name)), headers);
    await expectOneEach("/key", ({ gate, name }) => whose(kinds[gate].home, name), headers);
  });

  it("meet in no cache, and in no stored response", async () => {
    const firstOfTenant = new Map<string, string>();
    for (const one of people) {
      const user = whose(issuerOf(one), one.name);
      const headers = { "x-gate": one.gate };
      const token = await tokenOf(one);
      const first = await send(`${url}/cache`, { token, headers: { ...headers, "x-key": ascii(user) } });
      const [forUser, forTenant] = first.json as [string, string];
      expect(forUser, JSON.stringify(one)).to.equal(user);
      const tenant = whose(issuerOf(one), one.tenant);
      if (!firstOfTenant.has(tenant)) firstOfTenant.set(tenant, user);
      expect(forTenant, JSON.stringify(one)).to.equal(firstOfTenant.get(tenant));
      // The second time somebody else would be told of, if anything else than the first answer was.
      for (const key of [user, "made anew"]) {
        const again = { token, headers: { ...headers, "x-name": ascii(key) } };
        expect((await send(`${url}/stored`, again)).json, JSON.stringify(one)).to.equal(user);
        expect((await send(`${url}/cache`, again)).json, JSON.stringify(one)).to.deep.equal([forUser, forTenant]);
      }
    }
  });

  it("meet in no count of failed logins", async () => {
    const seen = new Set<string>();
    const accounts = ["42", "a:b", "{a}", "8443:acme", `iss-${digestOf(id)}.42`, `iss-${digestOf(partners)}.42`];
    for (const account of accounts)
      for (const gate of all) {
        const label = whose(kinds[gate].home, account);
        const headers = { "x-gate": gate, "x-key": ascii(account) };
        const { status } = await send(`${url}/login`, { method: "POST", headers });
        expect(status, `${account} at ${gate}`).to.equal(seen.has(label) ? 429 : 401);
        seen.add(label);
      }
    for (const account of accounts) expect(await net.get(`${prefix}auth:failed:${account}`)).to.equal("1");
    expect(await net.keys(`${prefix}auth:failed:*`)).to.have.length(accounts.length);
  });

  for (const [what, claims, end] of [
    ["revocation of a token", {}, (gate: Gate, auth: Auth) => gate.revocations.revoke(auth)],
    [
      "revocation of a token without jti",
      { jti: undefined },
      (gate: Gate, auth: Auth) => gate.revocations.revoke(auth),
    ],
    ["cut-off of a user", {}, (gate: Gate, auth: Auth) => gate.revocations.revokeSubject(auth)],
    ["end of all sessions", {}, (gate: Gate, auth: Auth) => gate.sessions.revokeAll(auth)],
    ["log-out from a session", { sid: "same" }, (gate: Gate, auth: Auth) => gate.sessions.revoke(auth)],
  ] as const) {
    it(`share no ${what}`, async () => {
      const iat = nowSeconds() - 1;
      const exp = iat + 300;
      const tokens = await Promise.all(
        people.map((one) => {
          const sid = "sid" in claims ? { sid: one.name, jti: `${one.name} ${one.gate}` } : {};
          return tokenOf(one, { iat, exp, ...claims, ...sid });
        }),
      );
      const ended = new Set<string>();
      // A token without jti is itself: its other claims tell it apart, too.
      const label = (one: Somebody): string =>
        whose(issuerOf(one), one.name, ...("jti" in claims ? [one.issuer, one.tenant] : []));
      for (const [index, one] of people.entries()) {
        // Names beyond the shared keys have no sessions of ours to end.
        if (index % 6 !== 0 || ended.has(label(one)) || !isLiteral(one.name)) continue;
        await end(gates[one.gate], await admit(one, tokens[index]!));
        ended.add(label(one));
        const allowed = await Promise.all(
          people.map(async (each, at) => (await verify(each, tokens[at]!)) !== undefined),
        );
        for (const [at, each] of people.entries())
          expect(allowed[at], `${JSON.stringify(each)} after ${JSON.stringify(one)}`).to.equal(!ended.has(label(each)));
      }
      expect(ended.size).to.be.above(8);
    });
  }

  it("meet in no cut-off of an organisation", async () => {
    const iat = nowSeconds() - 1;
    const tokens = await Promise.all(people.map((one) => tokenOf(one, { iat, exp: iat + 300, org_id: one.name })));
    const ended = new Set<string>();
    const organisations: readonly (readonly [Kind, string])[] = [
      ["partners", "42"],
      ["none", "a:b"],
      ["mall", `iss-${digestOf(partners)}.42`],
      ["shop", "8443:acme"],
      ["none", "42"],
      ["partners", `iss-${digestOf(id)}.42`],
      ["admin", "42"],
    ];
    for (const [kind, org] of organisations) {
      await gates[kind].sessions.revokeGroup(org);
      ended.add(whose(kind === "none" ? "none" : `iss ${kinds[kind].home}`, org));
      for (const [at, each] of people.entries())
        expect(
          (await verify(each, tokens[at]!)) !== undefined,
          `${JSON.stringify(each)} after ${kind} ${org}`,
        ).to.equal(!ended.has(whose(issuerOf(each), each.name)));
    }
    for (const kind of ["others", "open"] as const)
      expect(await rejectionOf(gates[kind].sessions.revokeGroup("42"))).to.be.instanceOf(TypeError);
  });

  it("share no list of sessions, and end no session of another gate", async () => {
    const some = names.filter((name) => name.isWellFormed() && name.length < 200);
    for (const subject of some)
      for (const kind of ["shop", "admin", "partners"] as const) await gates[kind].tokens.issue({ subject });
    const principalOf = async (gate: Kind, name: string): Promise<Auth> => {
      const one = { gate, issuer: kinds[gate].home, name, tenant: "t" };
      return admit(one, await tokenOf(one, { jti: undefined, iat: nowSeconds() }));
    };
    const count = async (gate: Kind, name: string): Promise<number> =>
      (await gates[gate].sessions.list(await principalOf(gate, name))).length;
    for (const name of some) {
      expect([await count("shop", name), await count("admin", name), await count("partners", name)]).to.deep.equal([
        2, 2, 1,
      ]);
    }
    const before = await Promise.all(some.map((name) => principalOf("partners", name)));
    for (const auth of before) await gates.partners.sessions.revokeAll(auth);
    for (const [index, name] of some.entries()) {
      expect(await gates.partners.sessions.list(before[index]!)).to.deep.equal([]);
      expect([await count("shop", name), await count("mall", name)]).to.deep.equal([2, 2]);
    }
  });

  it("are published to no other gate", async () => {
    const heard = new Map<Kind, EndedSessions[]>(all.map((kind) => [kind, []]));
    let listening = 0;
    for (const kind of all)
      gates[kind].sessions.onRevoked(
        (ended) => heard.get(kind)!.push(ended),
        () => (listening += 1),
      );
    await until(() => listening >= all.length);
    const iat = nowSeconds() - 1;
    const auths = await Promise.all(people.map(async (one) => admit(one, await tokenOf(one, { iat, exp: iat + 300 }))));
    const label = (one: Somebody): string => whose(issuerOf(one), one.name);
    const ended = new Set<string>();
    for (const [index, one] of people.entries()) {
      if (index % 4 !== 0) continue;
      await gates[one.gate].revocations.revokeSubject(auths[index]!);
      ended.add(label(one));
    }
    const hears = ({ gate }: Somebody, at: number): boolean =>
      heard.get(gate)!.some((ending) => ending.concerns(auths[at]!));
    await until(() => people.every((each, at) => !ended.has(label(each)) || hears(each, at)));
    for (const [at, each] of people.entries())
      expect(hears(each, at), JSON.stringify(each)).to.equal(ended.has(label(each)));
  });

  describe("of .NET, which writes and reads the shared keys as they are", () => {
    const shares = ({ gate, issuer }: Somebody): boolean =>
      gate !== "none" && issuer === id && ["shop", "admin", "mall"].includes(gate);
    const literal = names.filter(isLiteral);

    it("revokes tokens of its issuer, and no others", async () => {
      for (const jti of literal) await net.set(`${prefix}auth:revoked:${jti}`, "revoked", "EX", 600);
      for (const one of people)
        expect((await verify(one, await tokenOf(one))) === undefined, JSON.stringify(one)).to.equal(
          shares(one) && literal.includes(one.name),
        );
    });

    it("finds the revocations of its issuer and no others", async () => {
      for (const { gate, issuer, name } of people)
        await gates[gate].revocations.revoke({ jti: name, issuer, expiresAt: nowSeconds() + 60 });
      const expected = people.filter((one) => shares(one) && isLiteral(one.name));
      const found = await net.keys(`${prefix}auth:*`);
      expect(found).to.have.members([...new Set(expected.map(({ name }) => `${prefix}auth:revoked:${name}`))]);
      for (const key of found) expect(await net.get(key)).to.equal("revoked");
    });

    it("has the tokens in its lists revoked by the gates of its issuer alone", async () => {
      await net.sadd(`${prefix}auth:user_tokens:42`, "of user 42");
      await net.sadd(`${prefix}auth:org_tokens:42`, "of org 42");
      const isRevoked = (jti: string): Promise<number> => net.exists(`${prefix}auth:revoked:${jti}`);
      for (const kind of ["partners", "none"] as const) {
        await gates[kind].sessions.revokeAll("42");
        await gates[kind].sessions.revokeGroup("42");
      }
      expect([await isRevoked("of user 42"), await isRevoked("of org 42")]).to.deep.equal([0, 0]);
      await gates.shop.sessions.revokeAll("42");
      await gates.mall.sessions.revokeGroup("42");
      expect([await isRevoked("of user 42"), await isRevoked("of org 42")]).to.deep.equal([1, 1]);
    });
  });
});

describe("services that do not share their keys", () => {
  it("are found by the keys that name the issuer, one for each prefix", async () => {
    const base = freshPrefix();
    for (const prefix of [`${base}a:`, `${base}b:`, `${base}b:`]) {
      const gate = portcullis({
        ...{ redis: testRedisUrl(), prefix, logger: silentLogger, service: "shop" },
        auth: { issuer: id, audience: testAudience, secret: testSecret, algorithms: ["HS256"] },
      });
      cleanUp(() => gate.close());
    }
    const user = operate(testRedisUrl());
    const find = async (): Promise<string[]> => {
      const found: string[] = [];
      for await (const keys of user.scanStream({ match: `${base}*portcullis:2:shared-issuer` }))
        found.push(...(keys as string[]));
      return [...new Set(found)].sort();
    };
    await until(async () => (await find()).length === 2);
    expect(await find()).to.deep.equal(["a", "b"].map((name) => `${base}${name}:portcullis:2:shared-issuer`));
  });
});
