import type { ServerResponse } from "node:http";
import { expect } from "chai";
import { signToken } from "@portcullis/testkit";
import { commonRoutes, describeOnEveryFramework } from "../../support/every-gate.js";
import { openLatch } from "../../support/latch.js";
import { send } from "../../support/http.js";
import { until } from "../../support/until.js";

describeOnEveryFramework("the cost of a request when its response has ended is", (start) => {
  const visitor = async (url: string) => {
    const token = await signToken();
    return async (path: string, headers = {}): Promise<[status: number, remaining: number]> => {
      const { status, headers: fields } = await send(`${url}${path}`, { token, headers });
      return [status, Number(/r=(\d+)/.exec(String(fields.ratelimit))?.[1])];
    };
  };

  for (const algorithm of ["fixed-window", "sliding-window", "token-bucket"] as const) {
    const terms = { name: "a", per: "user", algorithm, window: "1h" } as const;

    it(`only failures, if the policy says so (${algorithm})`, async () => {
      const { url } = await start({ limits: [{ ...terms, limit: 2, countOnly: "failures" }] });
      const visit = await visitor(url);
      for (let index = 0; index < 4; index += 1) expect(await visit("/me")).to.deep.equal([200, 1]);
      expect(await visit("/missing")).to.deep.equal([404, 1]);
      expect(await visit("/me")).to.deep.equal([200, 0]);
      expect(await visit("/missing")).to.deep.equal([404, 0]);
      expect(await visit("/me")).to.deep.equal([429, 0]);
    });

    it(`only successes, if the policy says so (${algorithm})`, async () => {
      const { url } = await start({ limits: [{ ...terms, limit: 2, countOnly: "successes" }] });
      const visit = await visitor(url);
      for (let index = 0; index < 4; index += 1) expect(await visit("/missing")).to.deep.equal([404, 1]);
      expect(await visit("/me")).to.deep.equal([200, 1]);
      expect(await visit("/me")).to.deep.equal([200, 0]);
      expect(await visit("/missing")).to.deep.equal([429, 0]);
    });

    it(`the real cost, more or less than was reserved (${algorithm})`, async () => {
      const { url } = await start({
        limits: [{ ...terms, limit: 30, cost: 5, settle: ({ headers }) => Number(headers["x-cost"]) }],
      });
      const visit = await visitor(url);
      expect(await visit("/me", { "x-cost": "1" })).to.deep.equal([200, 25]);
      expect(await visit("/me", { "x-cost": "12" })).to.deep.equal([200, 24]);
      expect(await visit("/me", { "x-cost": "20" })).to.deep.equal([200, 12]);
      expect((await visit("/me"))[0]).to.equal(429);
    });
  }

  it("at least the reserved cost while the request is in progress", async () => {
    const latch = openLatch();
    const { url } = await start(
      { limits: [{ name: "a", per: "user", limit: 10, window: "1h", cost: 5, settle: () => 0 }] },
      { routes: { ...commonRoutes, "GET /slow": latch.wait } },
    );
    const visit = await visitor(url);
    const slow = [visit("/slow"), visit("/slow")];
    await latch.waiting(2);
    expect((await visit("/me"))[0]).to.equal(429);
    latch.open();
    await Promise.all(slow);
    expect(await visit("/me")).to.deep.equal([200, 5]);
  });

  it("the reserved cost, if the function fails or returns no usable cost", async () => {
    const { url } = await start({
      limits: [
        {
          ...{ name: "a", per: "user", limit: 30, window: "1h", cost: 2 },
          settle({ headers }) {
            if (headers["x-cost"] === "throw") throw new Error("a failure of settle");
            return headers["x-cost"] === "none" ? undefined : Number(headers["x-cost"]);
          },
        },
      ],
    });
    const visit = await visitor(url);
    const odd = ["throw", "none", "-5", "1.5", "NaN", "1e21", "Infinity"];
    for (const [index, cost] of odd.entries())
      expect(await visit("/me", { "x-cost": cost }), cost).to.deep.equal([200, 28 - 2 * index]);
  });

  it("all of it, where the client did not wait for the answer", async () => {
    const latch = openLatch();
    let ended = false;
    const waitOn = async (request: object): Promise<unknown> => {
      (request as { res: ServerResponse }).res.once("close", () => (ended = true));
      return latch.wait();
    };
    const { url } = await start(
      {
        limits: [
          { name: "a", per: "user", limit: 9, window: "1h", countOnly: "failures" },
          { name: "b", per: "user", limit: 9, window: "1h", countOnly: "successes" },
        ],
      },
      { routes: { ...commonRoutes, "GET /slow": waitOn } },
    );
    const token = await signToken();
    const leaving = new AbortController();
    const headers = { authorization: `Bearer ${token}` };
    const gone = fetch(`${url}/slow`, { headers, signal: leaving.signal }).catch(() => "gone");
    await latch.waiting(1);
    leaving.abort();
    expect(await gone).to.equal("gone");
    await until(() => ended);
    latch.open();
    for (let index = 0; index < 3; index += 1) {
      const { headers: fields } = await send(`${url}/missing`, { token });
      expect(fields.ratelimit).to.match(new RegExp(`^"a";r=${7 - index};t=\\d+, "b";r=7;t=\\d+$`));
    }
  });

  it("nothing twice: mounted twice it is settled once", async () => {
    const { url } = await start(
      { limits: [{ name: "a", per: "user", limit: 9, window: "1h", cost: 3, settle: () => 1 }] },
      {
        use: (gate) => {
          const guard = gate.guard();
          return [guard, guard, gate.guard()];
        },
      },
    );
    const visit = await visitor(url);
    for (let index = 0; index < 3; index += 1) expect(await visit("/me")).to.deep.equal([200, 6 - index]);
  });
});
