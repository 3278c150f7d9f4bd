import { expect } from "chai";
import { signToken } from "@portcullis/testkit";
import { commonRoutes, describeOnEveryFramework } from "../../support/every-gate.js";
import { openLatch } from "../../support/latch.js";
import type { TestAnswer } from "../../support/http.js";
import { send } from "../../support/http.js";
import { until } from "../../support/until.js";

describeOnEveryFramework("limits by other algorithms", (start) => {
  const visit = async (url: string, times: number, token: string): Promise<TestAnswer[]> => {
    const answers: TestAnswer[] = [];
    for (let index = 0; index < times; index += 1) answers.push(await send(`${url}/me`, { token }));
    return answers;
  };
  const statuses = (answers: readonly TestAnswer[]): number[] => answers.map(({ status }) => status);

  it("slide: a refused request fits one whole window after the requests that filled the limit", async () => {
    const { url } = await start({
      limits: [{ name: "s", per: "user", algorithm: "sliding-window", limit: 2, window: "20s" }],
    });
    const answers = await visit(url, 3, await signToken());
    expect(statuses(answers)).to.deep.equal([200, 200, 429]);
    expect(answers[1]?.headers.ratelimit).to.match(/^"s";r=0;t=(20|21)$/);
    expect(answers[2]?.headers["ratelimit-policy"]).to.equal('"s";q=2;w=20');
    expect(Number(answers[2]?.headers["retry-after"])).to.be.within(19, 21);
    expect(answers[2]?.json).to.deep.include({ code: "quota_exceeded", "violated-policies": ["s"] });
  });

  it("flow: so many at once as the burst allows, and then one after the other", async () => {
    const { url } = await start({
      limits: [{ name: "b", per: "user", algorithm: "token-bucket", limit: 6, burst: 2, window: "1m" }],
    });
    const answers = await visit(url, 3, await signToken());
    expect(statuses(answers)).to.deep.equal([200, 200, 429]);
    expect(answers[0]?.headers.ratelimit).to.match(/^"b";r=1;t=10$/);
    expect(answers[2]?.headers["ratelimit-policy"]).to.equal('"b";q=6;w=60');
    expect(answers[2]?.headers.ratelimit).to.match(/^"b";r=0;t=(10|9)$/);
    expect(answers[2]?.headers["retry-after"]).to.match(/^(10|9)$/);
  });

  describe("of requests in flight", () => {
    const inFlight = { name: "c", per: "user", algorithm: "concurrency", limit: 2 } as const;

    it("refuse one too many, and take it when another has ended", async () => {
      const latch = openLatch();
      const { url } = await start({ limits: [inFlight] }, { routes: { ...commonRoutes, "GET /slow": latch.wait } });
      const token = await signToken();
      const slow = [1, 2].map(async () => send(`${url}/slow`, { token }));
      await latch.waiting(2);
      const refused = await send(`${url}/me`, { token });
      expect(refused.status).to.equal(429);
      expect(refused.headers["ratelimit-policy"]).to.equal('"c";q=2;qu="concurrent-requests"');
      expect(refused.headers.ratelimit).to.equal('"c";r=0;t=1');
      expect(refused.headers["retry-after"]).to.equal("1");
      expect(refused.json).to.deep.include({ status: 429, code: "concurrency_exceeded", "violated-policies": ["c"] });
      expect((await send(`${url}/me`, { token: await signToken({ sub: "bob" }) })).status).to.equal(200);
      latch.open();
      expect(statuses(await Promise.all(slow))).to.deep.equal([200, 200]);
      const later = await visit(url, 5, token);
      expect(statuses(later)).to.deep.equal([200, 200, 200, 200, 200]);
      for (const { headers } of later) expect(headers.ratelimit).to.equal('"c";r=1');
    });

    it("hold no slot for a request that was refused for something else, or when client and handler have gone", async () => {
      const latch = openLatch();
      const { url } = await start(
        { limits: [{ ...inFlight, per: "ip", limit: 1 }] },
        { routes: { ...commonRoutes, "GET /slow": latch.wait } },
      );
      const token = await signToken();
      for (let index = 0; index < 3; index += 1)
        expect((await send(`${url}/me`, { token: "bad" })).status).to.equal(401);
      const leaving = new AbortController();
      const gone = fetch(`${url}/slow`, {
        headers: { authorization: `Bearer ${token}` },
        signal: leaving.signal,
      }).catch(() => "gone");
      await latch.waiting(1);
      expect((await send(`${url}/me`, { token })).status).to.equal(429);
      leaving.abort();
      expect(await gone).to.equal("gone");
      expect((await send(`${url}/me`, { token })).status, "its handler works on").to.equal(429);
      latch.open();
      await until(async () => (await send(`${url}/me`, { token })).status === 200);
    });

    it("say nothing of it in fields that know windows only", async () => {
      const { url } = await start({ headers: "draft-7", limits: [inFlight] });
      const [answer] = await visit(url, 1, await signToken());
      expect(answer?.headers).to.not.have.any.keys("ratelimit", "ratelimit-policy");
    });
  });

  it("stand together in one field, and refuse together", async () => {
    const { url } = await start({
      limits: [
        { name: "w", per: "user", limit: 9, window: "1h" },
        { name: "s", per: "user", algorithm: "sliding-window", limit: 2, window: "1h" },
        { name: "b", per: "user", algorithm: "token-bucket", limit: 9, window: "1h" },
        { name: "c", per: "user", algorithm: "concurrency", limit: 9 },
      ],
    });
    const answers = await visit(url, 4, await signToken());
    expect(statuses(answers)).to.deep.equal([200, 200, 429, 429]);
    const last = answers[3]?.headers;
    expect(last?.["ratelimit-policy"]).to.equal(
      '"w";q=9;w=3600, "s";q=2;w=3600, "b";q=9;w=3600, "c";q=9;qu="concurrent-requests"',
    );
    expect(last?.ratelimit).to.match(/^"w";r=7;t=\d+, "s";r=0;t=\d+, "b";r=7;t=\d+, "c";r=9$/);
  });
});
