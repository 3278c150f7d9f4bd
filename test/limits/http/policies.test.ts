import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { commonRoutes, describeOnEveryFramework } from "../../support/every-gate.js";
import type { SendOptions, TestAnswer } from "../../support/http.js";
import { send } from "../../support/http.js";
import { withoutGate } from "../../support/without-gate.js";

describeOnEveryFramework("a policy", (start) => {
  const behindProxy = { behindProxy: true } as const;
  const open = { auth: { ...testAuth, optional: true } };
  const statuses = async (url: string, requests: readonly SendOptions[]): Promise<number[]> => {
    const seen: number[] = [];
    for (const request of requests) seen.push((await send(`${url}/me`, request)).status);
    return seen;
  };
  const key = (value: string): SendOptions => ({ headers: { "x-api-key": value } });

  it("counts by an API key, and without one by address", async () => {
    const limits = [{ name: "key", per: { header: "X-Api-Key" }, limit: 1, window: "1h" }] as const;
    const { url } = await start({ ...open, limits });
    const long = "k".repeat(8000);
    const seen = await statuses(url, [
      key("a"),
      key(" a "),
      key("A"),
      key(long),
      key(long),
      {},
      key(""),
      key("127.0.0.1"),
    ]);
    expect(seen).to.deep.equal([200, 429, 200, 200, 429, 200, 429, 200]);
  });

  it("counts by a claim across users; without the claim by user; not for anonymous requests", async () => {
    const limits = [{ name: "tenant", per: { claim: "tenant" }, limit: 1, window: "1h" }] as const;
    const { url } = await start({ ...open, limits });
    const token = async (claims: Record<string, unknown>): Promise<SendOptions> => ({ token: await signToken(claims) });
    const seen = await statuses(url, [
      await token({ sub: "alice", tenant: "acme" }),
      await token({ sub: "bob", tenant: "acme" }),
      await token({ sub: "carol", tenant: "other" }),
      await token({ sub: "acme" }),
      await token({ sub: "dave", tenant: null }),
      await token({ sub: "dave" }),
      {},
      {},
    ]);
    expect(seen).to.deep.equal([200, 429, 200, 200, 200, 429, 200, 200]);
  });

  it("counts by several things together", async () => {
    const per = [
      "user",
      { header: "x-api-key" },
      ({ headers }: { headers: object }) => `${Object.keys(headers).length}`,
    ] as const;
    const { url } = await start({ limits: [{ name: "a", per, limit: 1, window: "1h" }] });
    const [alice, bob] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
    const seen = await statuses(url, [
      { token: alice, ...key("1") },
      { token: alice, ...key("1") },
      { token: alice, ...key("2") },
      { token: bob, ...key("1") },
      { token: alice },
    ]);
    expect(seen).to.deep.equal([200, 429, 200, 200, 200]);
  });

  it("is for some requests only, however their path is spelled", async () => {
    const when = { path: "/me", method: ["POST", "GET"] } as const;
    const { url } = await start({ ...open, limits: [{ name: "me", per: "ip", limit: 2, window: "1h", when }] });
    const paths = ["/other", "/me", "/ME", "//me", "/%6de", "/me/", "/me?x=1"];
    const fields: boolean[] = [];
    for (const path of paths) fields.push((await send(url + path)).headers.ratelimit !== undefined);
    expect(fields).to.deep.equal([false, true, true, true, true, true, true]);
    expect(await statuses(url, [{ method: "DELETE" }, {}])).to.deep.equal([404, 429]);
  });

  it("takes limits and windows from functions of the plan", async () => {
    const { url } = await start({
      limits: [
        {
          name: "plan",
          per: "user",
          limit: (_raw, { auth }) => (auth?.scopes.includes("gold") === true ? 3 : 1),
          window: (_raw, { auth }) => Promise.resolve(auth?.scopes.includes("gold") === true ? "2h" : "1h"),
        },
      ],
    });
    const policy = async (scope: string): Promise<unknown> =>
      (await send(`${url}/me`, { token: await signToken({ sub: scope, scope }) })).headers["ratelimit-policy"];
    expect([await policy("gold"), await policy("tin")]).to.deep.equal(['"plan";q=3;w=7200', '"plan";q=1;w=3600']);
  });

  it("that gets an odd window from its function fails, and counts nothing", async () => {
    for (const window of ["0s", "1.5s", "500ms", "25d", "soon"]) {
      const limits = [{ name: "odd", per: "ip", limit: 1, window: () => window as "1s" }] as const;
      const { url } = await start({ ...open, limits });
      expect(await statuses(url, [{}, {}]), window).to.deep.equal([500, 500]);
    }
  });

  it("lets addresses of its allow list pass uncounted, in every spelling", async () => {
    const limits = [
      { name: "ip", per: "ip", limit: 0, window: "1h", allow: ["203.0.113.0/24", "2001:db8::/32"] },
    ] as const;
    const { url } = await start({ ...open, limits }, behindProxy);
    const passing = ["203.0.113.9", "::ffff:203.0.113.9", "::ffff:cb00:7109", "2001:db8:1::9", "2001:DB8::203.0.113.9"];
    const others = ["203.0.114.9", "2001:db9::1", "::ffff:203.0.114.9", "not-an-address", "203.0.113.9.9"];
    expect(
      await statuses(
        url,
        passing.map((from) => ({ from })),
      ),
    ).to.deep.equal([200, 200, 200, 200, 200]);
    expect(
      await statuses(
        url,
        others.map((from) => ({ from })),
      ),
    ).to.deep.equal([429, 429, 429, 429, 429]);
  });

  it("refuses addresses of its deny list with 403, whatever they bring, and counts nothing", async () => {
    const limits = [
      { name: "ip", per: "ip", limit: 9, window: "1h", deny: ["203.0.113.0/24", "::ffff:198.51.100.0/120"] },
    ] as const;
    const { url } = await start({ limits }, behindProxy);
    const token = await signToken();
    for (const from of ["203.0.113.9", "::ffff:203.0.113.9", "198.51.100.7"]) {
      const refused = await send(`${url}/me`, { from, token });
      expect([refused.status, refused.headers.ratelimit]).to.deep.equal([403, undefined]);
      expect(refused.json).to.deep.include({ status: 403, code: "blocked" });
    }
    expect((await send(`${url}/me`, { from: "192.0.2.1", token })).headers.ratelimit).to.match(/r=8/);
  });

  it("blocks a client who goes on, for longer than its window", async () => {
    const block = { after: 2, for: "10m" } as const;
    const limits = [{ name: "ip", per: "ip", limit: 1, window: "10s", block }] as const;
    const { url } = await start({ ...open, limits });
    const answers: TestAnswer[] = [];
    for (let index = 0; index < 4; index += 1) answers.push(await send(`${url}/me`));
    expect(answers.map(({ status }) => status)).to.deep.equal([200, 429, 429, 429]);
    const codes = answers.map(({ json }) => (json as { code?: string }).code);
    expect(codes).to.deep.equal([undefined, "quota_exceeded", "abuse_detected", "abuse_detected"]);
    expect(Number(answers[3]?.headers["retry-after"])).to.be.within(590, 600);
    expect(answers[3]?.headers.ratelimit).to.match(/^"ip";r=0;t=(59\d|600)$/);
    expect(answers[3]?.json).to.deep.include({
      type: "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
    });
  });

  it("in shadow shows its decisions to handlers, events and metrics, and to no client", async () => {
    const said: unknown[] = [];
    const listen = (message: unknown): void => void said.push(message);
    subscribe("portcullis:limited", listen);
    try {
      const limits = [
        { name: "ip", per: "ip", limit: 9, window: "1h" },
        { name: "try", per: "ip", limit: 1, window: "1h", shadow: true, deny: ["127.0.0.0/8"] },
      ] as const;
      const { url, gate } = await start({ ...open, limits }, { routes: commonRoutes });
      await send(`${url}/me`);
      const answer = await send(`${url}/me`);
      expect(answer.status).to.equal(200);
      expect(answer.headers["ratelimit-policy"]).to.equal('"ip";q=9;w=3600');
      expect(answer.headers.ratelimit).to.match(/^"ip";r=7;t=\d+$/);
      const { quotas } = answer.json as { quotas: { policy: string; exceeded: boolean; shadow: boolean }[] };
      expect(quotas.map(({ policy, exceeded, shadow }) => [policy, exceeded, shadow])).to.deep.equal([
        ["ip", false, false],
        ["try", true, true],
      ]);
      expect(said.map(withoutGate)).to.deep.include({ policy: "try", algorithm: "fixed-window", outcome: "shadow" });
      const metric = gate.metrics().find(({ name }) => name === "portcullis_limited_total");
      const counted = metric?.samples.map(({ labels, value }) => ({ ...withoutGate(labels), value }));
      expect(counted).to.deep.equal([{ policy: "try", outcome: "shadow", value: 3 }]);
    } finally {
      unsubscribe("portcullis:limited", listen);
    }
  });
});
