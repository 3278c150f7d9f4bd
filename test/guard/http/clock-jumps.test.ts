import { TestIssuer, startRedis, testAudience } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { allAdapters } from "../../support/app.js";
import type { TestAdapter } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";

const realNow = Date.now;
const hour = 3_600_000;
/** Two looks at the rules and more. */
const looksMs = 1000;

describe("the wall clock of a process that is set", function () {
  this.timeout(60_000);
  let server: RedisServer;

  before(async () => {
    server = await startRedis();
  });
  after(() => server.stop());
  afterEach(() => {
    Date.now = realNow;
  });

  it("ends no block and no override, and prolongs none, in any framework and on either store", async () => {
    const limits = [{ name: "api", per: { header: "x-client" }, limit: 100, window: "1m" }] as const;

    async function start(adapter: TestAdapter, redis: string): Promise<() => Promise<unknown[]>> {
      const { url, gate } = await adapter.start({
        options: { redis, deadline: 1000, logger: silentLogger, limits, prefix: `${adapter.name}:`.replace(/ /g, "") },
        routes: { "GET /": () => ({ in: true }) },
      });
      const ask = async (client: string): Promise<[number, string]> => {
        const { status, headers } = await send(url, { headers: { "x-client": client } });
        return [status, String(headers["ratelimit-policy"])];
      };
      await gate.quotas.block("api", "eve", { for: "1h" });
      await gate.quotas.setOverride("api", "bob", { limit: 5, for: "1h" });
      await gate.quotas.setOverride("api", "zoe", { limit: 7, for: 1500 });
      return async () => [(await ask("eve"))[0], (await ask("bob"))[1], (await ask("zoe"))[1]];
    }

    const names: string[] = [];
    const starting: ReturnType<typeof start>[] = [];
    for (const adapter of allAdapters)
      for (const redis of [server.url, "memory"]) {
        names.push(`${adapter.name}, ${redis}`);
        starting.push(start(adapter, redis));
      }
    const all = await Promise.all(starting);
    const until = performance.now() + 1500;
    const expected = [429, '"api";q=5;w=60', '"api";q=100;w=60'];
    let looks = 0;
    for (const jump of [2 * hour, -2 * hour, 0]) {
      Date.now = () => realNow() + jump;
      await new Promise((resolve) => setTimeout(resolve, looksMs));
      const isOver = performance.now() > until + looksMs;
      const answers = await Promise.all(all.map((seen) => seen()));
      for (const [index, answer] of answers.entries()) {
        const what = `a jump by ${jump} ms (${names[index]})`;
        if (isOver) expect(answer, what).to.deep.equal(expected);
        else expect(answer.slice(0, 2), what).to.deep.equal(expected.slice(0, 2));
      }
      if (isOver) looks += 1;
    }
    expect(looks, "looks after the last override had ended").to.be.at.least(1);
  });

  for (const adapter of allAdapters) {
    it(`takes no keys away while their issuer cannot be asked (${adapter.name})`, async () => {
      const issuer = await TestIssuer.start("ES256");
      cleanUp(() => issuer.close());
      let jump = 0;
      Date.now = () => realNow() + jump;
      const auth = { issuer: issuer.url, audience: testAudience } as const;
      const app = await adapter.start({
        options: { redis: "memory", logger: silentLogger, auth },
        routes: { "GET /": ({ auth }) => ({ subject: auth?.subject }) },
      });
      cleanUp(() => app.close());
      const token = await issuer.sign({ exp: Math.floor(realNow() / 1000) + 20 * 86_400 });
      const ask = async (): Promise<number> => (await send(app.url, { token })).status;
      expect(await ask()).to.equal(200);
      issuer.trouble = "error";
      // Keys are of no use after 24 hours.
      jump = 48 * hour;
      expect(await ask()).to.equal(200);
      expect(await ask()).to.equal(200);
    });
  }
});
