import { randomUUID } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import {
  TestIssuer,
  createDpopClient,
  nowSeconds,
  signToken,
  testAudience,
  testAuth,
  testSecret,
} from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { Redis } from "ioredis";
import type { ExplainedCheck, Explanation } from "../../../packages/core/src/index.js";
import { events } from "../../../packages/core/src/index.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

const limits: NonNullable<FakeOptions["limits"]> = [
  { name: "ip", per: "ip", limit: 6, window: "1h" },
  { name: "strict", per: "ip", limit: 4, window: "1h", block: { after: 2, for: "1h" }, when: { path: "/strict" } },
  { name: "user", per: "user", limit: 4, window: "1h", algorithm: "sliding-window" },
  { name: "plan", per: ["user", { claim: "plan" }], limit: 3, window: "1h", algorithm: "token-bucket", burst: 3 },
  { name: "paid", per: "user", limit: (_raw, { auth }) => (auth?.claims.paid === true ? 5 : 2), window: "1h" },
  { name: "watched", per: "user", limit: 1, window: "1h", shadow: true },
];

/** Bad tokens by name; each is refused for another reason. */
const badTokens: Readonly<Record<string, (sub: string) => Promise<string>>> = {
  expired: async (sub) => signToken({ sub, exp: nowSeconds() - 60 }),
  "not valid yet": async (sub) => signToken({ sub, nbf: nowSeconds() + 60 }),
  "from the future": async (sub) => signToken({ sub, iat: nowSeconds() + 60 }),
  "of another issuer": async (sub) => signToken({ sub, iss: "https://other.test" }),
  "for another audience": async (sub) => signToken({ sub, aud: "other" }),
  "of another key": async (sub) => `${(await signToken({ sub })).slice(0, -12)}AAAAAAAAAAAA`,
  "a refresh token": async (sub) => signToken({ sub, token_use: "refresh" }),
  "without a subject": async () => signToken({ sub: undefined }),
  "with a number as subject": async () => signToken({ sub: 42 }),
  "with a proof that nobody verifies": async (sub) => signToken({ sub, cnf: { jkt: "x".repeat(43) } }),
  "no JWT": () => Promise.resolve("nonsense"),
  "too long": () => Promise.resolve(`${"a".repeat(9000)}.b.c`),
};

const situation = fc.record({
  bad: fc.option(fc.constantFrom(...Object.keys(badTokens)), { freq: 2 }),
  revoked: fc.constantFrom("no", "no", "no", "token", "user", "session", "organisation"),
  paid: fc.boolean(),
  visits: fc.nat({ max: 7 }),
  path: fc.constantFrom("/", "/strict"),
  operator: fc.constantFrom("nothing", "nothing", "nothing", "block", "override", "everybody"),
});

for (const where of ["memory", "redis"] as const) {
  describe(`gate.explain(), ${where === "memory" ? "in process" : "on Redis"}`, () => {
    let prefix: string;
    let gate: FakeGate;
    let redis: Redis;

    before(() => {
      redis = new Redis(testRedisUrl());
    });
    after(() => redis.disconnect());
    beforeEach(() => {
      prefix = freshPrefix();
    });

    function open(options: FakeOptions = {}): FakeGate {
      const target = where === "memory" ? "memory" : testRedisUrl();
      gate = openGate({ redis: target, prefix, deadline: 2000, auth: testAuth, limits, ...options });
      return gate;
    }

    async function visit(
      token: string | undefined,
      ip: string,
      url = "/",
    ): Promise<Pick<Explanation, "status" | "code">> {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const verdict = await gate.guard().check(fakeExchange({ ip, url, headers }));
      return verdict.allowed
        ? { status: 200, code: "allowed" }
        : { status: verdict.status, code: verdict.problem.code };
    }

    async function revoke(kind: string, token: string): Promise<void> {
      const {
        sub = "",
        sid,
        org_id: org,
      } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as {
        sub?: string;
        sid: string;
        org_id: string;
      };
      const { revocations, sessions } = gate;
      const verified = await gate.verify(token);
      if (!verified.allowed || kind === "no") return;
      if (kind === "token") await revocations.revoke(verified.auth);
      else if (kind === "user") await revocations.revokeSubject(sub);
      else if (kind === "organisation") await sessions.revokeGroup(org);
      else if (sid !== "") await sessions.revoke({ ...verified.auth, jti: randomUUID() });
    }

    it("says of any token what guard() then says, in any situation", async function () {
      this.timeout(20_000);
      open();
      let run = 0;
      await fc.assert(
        fc.asyncProperty(situation, async ({ bad, revoked, paid, visits, path, operator }) => {
          run += 1;
          const [sub, sid, ip] = [`user${run}`, `s${run}`, `198.51.${run >> 8}.${run & 255}`];
          const claims = { sub, sid, paid, plan: "pro", org_id: `org${run}` };
          const token = bad === null ? await signToken(claims) : await badTokens[bad]!(sub);
          const others = { ...claims, jti: randomUUID() };
          for (let index = 0; index < visits; index += 1)
            await visit(index % 3 === 2 ? token : await signToken(others), ip, path);
          if (operator === "block") await gate.quotas.block("user", sub, { for: "1h" });
          if (operator === "override") await gate.quotas.setOverride("user", sub, { limit: 1 });
          if (operator === "everybody") await gate.quotas.setOverride("plan", { limit: 2 });
          if (bad === null) await revoke(revoked, token);
          const first = await gate.explain(token, { address: ip, path });
          const { status, code } = await gate.explain(token, { address: ip, path });
          const said = await visit(token, ip, path);
          if (operator === "everybody") await gate.quotas.clearOverride("plan");
          expect({ status, code }, `${bad} ${revoked} ${operator}: ${first.text}`).to.deep.equal(said);
          expect(first.status).to.equal(status);
        }),
        { numRuns: where === "memory" ? 100 : 50 },
      );
    });

    it("never rejects for a token of any shape, and puts none into its answer", async () => {
      open();
      const shapes: unknown[] = [
        ...[undefined, null, "", 0, Number.NaN, true, {}, [], ["a"], Symbol("s"), () => "x", 1n, Promise.resolve("x")],
        ...["a.b.c", "...", "Bearer", "Bearer  ", "\0\r\n", "e30.e30.e30", "\u{1f600}", `eyJhbGciOiJub25lIn0.e30.`],
        ...["bnVsbA.bnVsbA.AA", "W10.W10.AA", "eyJhbGciOnt9fQ.e30.AA", "x".repeat(100_000), { toString: "no" }],
      ];
      for (const shape of shapes) {
        const explained = await gate.explain(shape);
        expect(explained.status, typeof shape).to.equal(401);
        expect(explained.text).to.match(/^[\x20-\x7e]+$/);
        expect(explained.fault).to.equal(undefined);
      }
      const token = await signToken();
      for (const text of [token, ` ${token}\n`, `Bearer ${token}`, `Authorization: Bearer ${token}`]) {
        const explained = await gate.explain(text);
        expect(explained.code).to.equal("allowed");
        for (const part of token.split(".")) expect(JSON.stringify(explained)).not.to.include(part);
        expect(JSON.stringify(explained)).not.to.include(testSecret);
      }
    });

    it("names what is wrong, with the expected value or kind beside the one that was found", async () => {
      open();
      const cases: [string, string, Partial<ExplainedCheck>][] = [
        ["for another audience", "aud", { expected: '"test-api"', found: '"other"' }],
        ["expired", "exp", { expected: "a time in the future" }],
        ["a refresh token", "token_use", { outcome: "failed" }],
        ["of another issuer", "iss", { expected: '"https://issuer.test"', found: '"https://other.test"' }],
      ];
      for (const [bad, claim, wanted] of cases) {
        const { code, checks, text, user } = await gate.explain(await badTokens[bad]!("alice"));
        const check = checks.find(({ part, name }) => part === "claim" && name === claim);
        expect(check, bad).to.deep.include({ ...wanted, outcome: "failed" });
        expect([code, user]).to.deep.equal(["token_invalid", undefined]);
        if (claim === "aud")
          expect(text).to.equal(
            '401 token_invalid: ERR_JWT_CLAIM_VALIDATION_FAILED; claim aud: expected "test-api", found "other"',
          );
        expect(text).to.include(`; claim ${claim}: `);
      }
    });

    it("tells of the revocation record, each cut-off, the session and each limit, with their keys as digests", async () => {
      open({
        auth: undefined,
        tokens: { signingKey: testSecret, issuer: testAuth.issuer, audience: "shop" },
        limits: [{ name: "user", per: "user", limit: 3, window: "1m" }],
      });
      const search = gate.limit({ name: "search", per: "user", limit: 9, window: "1m" });
      const { accessToken, sessionId } = await gate.tokens.issue({ subject: "alice@example.com", org: "acme" });
      const visitor = fakeExchange({ headers: { authorization: `Bearer ${accessToken}` } });
      await gate.guard().check(visitor);
      await search.check(visitor);
      const find = (explained: Explanation, part: string, name: string): ExplainedCheck => {
        const check = explained.checks.find((one) => one.part === part && one.name === name);
        if (check === undefined) throw new Error(`there is no check ${part} ${name}`);
        return check;
      };
      const good = await gate.explain(accessToken);
      expect(good.user).to.deep.include({ principal: "alice@example.com", sessionId, issuer: testAuth.issuer });
      for (const [part, name, kind] of [
        ["record", "token", "auth:revoked "],
        ["cutoff", "user", "auth:cutoff "],
        ["cutoff", "session", "portcullis:2:cutoff:sid "],
        ["cutoff", "organisation", "portcullis:2:cutoff:org "],
        ["limit", "user", "portcullis:2:quota "],
        ["other limit", "search", "portcullis:2:quota "],
      ] as const) {
        const { key, outcome } = find(good, part, name);
        expect(outcome, `${part} ${name}`).to.equal("passed");
        expect(key)
          .to.match(/^[a-z0-9:-]+ ~[\w-]{24}$/)
          .and.to.satisfy((text: string) => text.startsWith(kind));
      }
      expect(find(good, "limit", "user").limit).to.include({ limit: 3, remaining: 2, consumed: 1, windowSeconds: 60 });
      expect(find(good, "other limit", "search").limit).to.include({ remaining: 8 });
      expect(find(good, "session", "record").found).to.match(/refreshed 0 times/);
      expect(good.text).to.match(/^200 allowed: .*expires in \d+ s; user 2 of 3 left$/);
      expect(good.text).not.to.include("alice");
      await gate.sessions.revokeAll("alice@example.com");
      const ended = await gate.explain(accessToken);
      expect(find(ended, "cutoff", "user")).to.include({ outcome: "failed" });
      expect(find(ended, "record", "token").outcome).to.equal("failed");
      expect(find(ended, "session", "record").outcome).to.equal("skipped");
      expect(ended.text).to.match(/^401 token_invalid: the token is revoked/);
    });

    it("names the client of a limit as the refusal in the logs does", async () => {
      const causes: unknown[] = [];
      const logger = { debug: (fields: object) => void causes.push(fields), warn: () => undefined };
      open({ logger, limits: [{ name: "user", per: "user", limit: 1, window: "1h" }] });
      const token = await signToken({ sub: "alice@example.com" });
      for (let index = 0; index < 2; index += 1) await visit(token, "192.0.2.1");
      const { checks, text, code } = await gate.explain(token);
      const { found = "" } = checks.find(({ part }) => part === "limit") ?? {};
      expect(code).to.equal("quota_exceeded");
      expect(found).to.match(/^user ~/);
      expect(text).to.include(`limit user: found ${found}, 1 in 3600 s, free in`);
      expect(JSON.stringify(causes)).to.include(found);
    });

    it("counts nothing, writes nothing, publishes nothing and keeps no verdict", async () => {
      let validations = 0;
      const audited: unknown[] = [];
      open({
        auth: { ...testAuth, validate: () => (validations += 1) > 0 },
        audit: (event) => audited.push(event),
      });
      const token = await signToken({ sub: "alice", sid: "s", plan: "pro" });
      const other = await signToken({ sub: "alice", sid: "s", plan: "pro" });
      for (let index = 0; index < 5; index += 1) await visit(other, "192.0.2.7", "/strict");
      const contents = async (): Promise<unknown> => {
        const keys = (await redis.keys(`${prefix}*quota*`)).filter((key) => !key.includes("quota-rules"));
        return Promise.all(
          [...keys.toSorted(), `${prefix}auth:cutoff:alice`].map(async (key) => [
            ...[key, ((await redis.dumpBuffer(key)) as Buffer | null)?.toString("hex"), await redis.pexpiretime(key)],
          ]),
        );
      };
      const state = async (): Promise<unknown> => ({
        // The reads of this test are questions to the store.
        metrics: gate.metrics().filter(({ name }) => !name.startsWith("portcullis_store_")),
        contents: await contents(),
        quotas: await Promise.all(["ip", "strict"].map((name) => gate.quotas.peek(name, "192.0.2.7"))).then((all) =>
          all.map(({ consumed, blocked }) => [consumed, blocked]),
        ),
      });
      const published: unknown[] = [];
      const listen = (message: unknown): void => void published.push(message);
      const channels = [events.denied, events.limited, events.degraded, events.verdict];
      const before = await state();
      for (const channel of channels) subscribe(channel.name, listen);
      try {
        const known = validations;
        for (const one of [token, other, "x", await badTokens.expired!("alice")])
          for (const path of ["/", "/strict"]) await gate.explain(one, { address: "192.0.2.7", path });
        expect(validations).to.equal(known + 4);
      } finally {
        for (const channel of channels) unsubscribe(channel.name, listen);
      }
      expect(published).to.deep.equal([]);
      expect(audited).to.deep.equal([]);
      expect(await state()).to.deep.equal(before);
      const verified = validations;
      await visit(token, "192.0.2.8");
      expect(validations, "the guard verifies the token by itself").to.equal(verified + 1);
      await visit(token, "192.0.2.8");
      expect(validations).to.equal(verified + 1);
    });

    it("skips limits whose client it does not know, and says what to pass", async () => {
      open({
        limits: [
          ...limits,
          { name: "key", per: { header: "x-api-key" }, limit: 1, window: "1h" },
          { name: "raw", per: "user", limit: (raw) => (raw as unknown as { most: number }).most, window: "1h" },
        ],
      });
      const token = await signToken({ plan: "pro" });
      const { status, checks } = await gate.explain(token);
      expect(status).to.equal(200);
      const skipped = checks.filter(({ outcome }) => outcome === "skipped").map(({ name, found }) => [name, found]);
      expect(skipped).to.have.deep.members([
        ["ip", "it counts by address; pass options.address"],
        ["strict", "it counts by address; pass options.address"],
        ["key", "it counts by a header; pass options.headers"],
        ["raw", "its function threw TypeError; pass options.request"],
      ]);
      const whole = await gate.explain(token, {
        ...{ address: "192.0.2.1", headers: { "X-Api-Key": "k" }, path: "/strict" },
        request: { most: 7 } as never,
      });
      expect(whole.checks.filter(({ outcome }) => outcome === "skipped")).to.deep.equal([]);
      expect(whole.checks.find(({ name }) => name === "raw")?.limit).to.include({ limit: 7, remaining: 7 });
      expect(await rejectionOf(gate.explain(token, { addres: "x" } as never))).to.be.instanceOf(TypeError);
    });

    it("asks the application's own records, and names them", async () => {
      open({ revocation: { isRevoked: ({ subject }) => subject === "mallory" } });
      const own = async (sub: string): Promise<unknown[]> => {
        const { code, checks } = await gate.explain(await signToken({ sub, plan: "pro" }));
        return [code, checks.find(({ part }) => part === "own")?.outcome];
      };
      expect(await own("mallory")).to.deep.equal(["token_invalid", "failed"]);
      expect(await own("alice")).to.deep.equal(["allowed", "passed"]);
    });

    it("takes the key of a bound token for proven, and says that each request needs a proof", async () => {
      open({ publicUrl: "https://api.example.com", auth: { ...testAuth, dpop: true } });
      const client = await createDpopClient();
      const { code, checks } = await gate.explain(await signToken({ plan: "pro", cnf: { jkt: client.thumbprint } }));
      expect(code).to.equal("allowed");
      expect(checks.find(({ part }) => part === "proof")).to.include({ outcome: "skipped" });
    });

    it("takes the certificate of a bound token for presented, and says that each request needs it", async () => {
      open({ auth: { ...testAuth, certificateBound: { from: () => undefined } } });
      const bound = await gate.explain(await signToken({ plan: "pro", cnf: { "x5t#S256": "x".repeat(43) } }));
      expect(bound.code).to.equal("allowed");
      expect(bound.checks.filter(({ part }) => part === "proof")).to.deep.equal([
        {
          ...{ part: "proof", name: "certificate", outcome: "skipped" },
          found: "each request needs the client certificate of the token",
        },
      ]);
      // Some issuers write null for a method that they do not use: then the request carries a Bearer token.
      const unused = await gate.explain(
        await signToken({ plan: "pro", cnf: { jkt: null, "x5t#S256": "x".repeat(43) } }),
      );
      expect(unused.code).to.equal("allowed");
      const free = await gate.explain(await signToken({ plan: "pro" }));
      expect(free.checks.filter(({ part }) => part === "proof")).to.deep.equal([]);
    });

    it("answers as the framework does where a function of the application throws", async () => {
      open({
        auth: {
          ...testAuth,
          validate: () => {
            throw new RangeError("the secret of the application");
          },
        },
      });
      const explained = await gate.explain(await signToken());
      expect([explained.status, explained.code]).to.deep.equal([500, "error"]);
      expect(JSON.stringify(explained)).to.include("RangeError").and.not.to.include("secret of the application");
    });
  });
}

describe("gate.explain()", () => {
  it("says that Redis is down instead of guessing, and what the policies for outages make of it", async () => {
    const redis = "redis://127.0.0.1:1";
    const common = { redis, auth: testAuth, limits, prefix: freshPrefix() };
    const token = await signToken({ plan: "pro" });
    const [deny, allow, bad] = await Promise.all([
      openGate(common).explain(token, { address: "192.0.2.1" }),
      openGate({ ...common, revocation: { onStoreError: "allow" } }).explain(token),
      openGate(common).explain("nonsense", { address: "192.0.2.1" }),
    ]);
    expect([deny.status, deny.code]).to.deep.equal([503, "store_unavailable"]);
    expect(deny.fault).to.be.oneOf(["unreachable", "timeout"]);
    expect(deny.text).to.include(`the store does not answer (${deny.fault})`);
    expect(deny.checks.find(({ part }) => part === "record")?.outcome).to.equal("unknown");
    expect(deny.checks.find(({ part }) => part === "limit")).to.include({ outcome: "unknown" });
    expect(allow.status).to.equal(200);
    expect(allow.fault).to.be.oneOf(["unreachable", "timeout"]);
    expect(allow.text).to.include("the policies for outages decide");
    expect([bad.status, bad.code]).to.deep.equal([401, "token_invalid"]);
  });

  it("fetches no keys: it says that a request would", async () => {
    const issuer = await TestIssuer.start();
    try {
      const remoteKeys = { allowPrivateAddresses: true };
      const gate = openGate({ auth: { issuer: issuer.url, audience: testAudience, remoteKeys } });
      const token = await issuer.sign();
      expect((await gate.explain(token)).code).to.equal("allowed");
      const count = (): number =>
        gate.metrics().find(({ name }) => name === "portcullis_key_fetches_total")?.samples[0]?.value ?? 0;
      const fetched = count();
      const unknown = await issuer.sign({}, { kid: "rotated" });
      const explained = await gate.explain(unknown);
      expect([explained.status, explained.code]).to.deep.equal([undefined, "undetermined"]);
      expect(count()).to.equal(fetched);
    } finally {
      await issuer.close();
    }
  });

  it("names the missing option without auth", async () => {
    expect(await rejectionOf(openGate({}).explain("x"))).to.be.instanceOf(TypeError);
  });
});
