import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { describeOnEveryFramework, withNodeAdapter } from "../../support/every-gate.js";
import { send } from "../../support/http.js";

withNodeAdapter(describeOnEveryFramework)("rate limits", (start) => {
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

  it("skip per-user policies for anonymous requests, and refuse tokens that name no user to them", async () => {
    const { url } = await start({ auth: { ...testAuth, optional: true }, limits: [perUser] });
    for (let i = 0; i < 4; i += 1) expect((await send(`${url}/me`)).status).to.equal(200);
    expect((await send(`${url}/me`, { token: await signToken({ sub: undefined }) })).status).to.equal(401);
  });
});
