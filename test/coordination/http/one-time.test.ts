import { startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { allAdapters } from "../../support/app.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";

for (const adapter of allAdapters) {
  it(`a route of ${adapter.name} that consumes a one-time value answers its data once, and 503 while Redis is down`, async function () {
    this.timeout(30_000);
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const { url, gate } = await adapter.start({
      options: { redis: redis.url, service: "one-time", deadline: 2000, logger: silentLogger },
      use: () => [],
      routes: {
        "POST /confirm": async (request, own) => {
          const { "x-token": token } = (request as unknown as { headers: Record<string, string> }).headers;
          return { found: (await own.oneTime.consume("confirm", token))?.data ?? null };
        },
      },
    });
    const { token } = await gate.oneTime.issue("confirm", { n: 1 }, { ttl: "1h" });
    const ask = () => send(`${url}/confirm`, { method: "POST", headers: { "x-token": token } });
    const answers = await Promise.all(Array.from({ length: 10 }, ask));
    expect(answers.map(({ status }) => status)).to.deep.equal(answers.map(() => 200));
    expect(answers.filter(({ json }) => (json as { found: unknown }).found !== null)).to.have.length(1);
    expect((await ask()).json).to.deep.equal({ found: null });
    await redis.stop();
    const { status, headers } = await ask();
    expect([status, headers["retry-after"]]).to.deep.equal([503, "1"]);
    expect((await send(`${url}/confirm`, { method: "POST", headers: { "x-token": "wrong" } })).json).to.deep.equal({
      found: null,
    });
  });
}
