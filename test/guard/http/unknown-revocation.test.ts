import { expect } from "chai";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { allAdapters, nodeAdapter } from "../../support/app.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { commonRoutes } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

const per = "user";
const window = "1h";
/** Of every way to count; each has room for fewer requests than are refused below. */
const limits = [
  { name: "address", per: "ip", limit: 50, window },
  { name: "fixed", per, limit: 4, window },
  { name: "leased", per, limit: 4, window, precision: "leased" },
  { name: "sliding", per, limit: 4, window, algorithm: "sliding-window" },
  { name: "bucket", per, limit: 4, window, algorithm: "token-bucket" },
  { name: "failures", per, limit: 4, window, countOnly: "failures" },
  { name: "slots", per, limit: 4, window, algorithm: "concurrency" },
] as const;
const refusals = 6;

/** Only Redis can hold what cannot be read, or be a store with another clock: the store in process is always sure. */
for (const [index, adapter] of [...allAdapters, nodeAdapter].entries()) {
  describe(`a token of which the store cannot say whether it is revoked, on ${adapter.name}`, () => {
    let prefix: string;
    let token: string;

    beforeEach(async () => {
      prefix = freshPrefix();
      token = await signToken({ sub: "alice" });
    });

    async function start(options: Partial<AnyOptions> = {}): Promise<RunningApp> {
      return adapter.start({
        options: {
          ...{ redis: testRedisUrl(), prefix, auth: testAuth, deadline: 1000, logger: silentLogger },
          limits,
          ...options,
        },
        routes: commonRoutes,
      });
    }

    const forget = (): Promise<unknown> => operate(testRedisUrl()).set(`${prefix}auth:cutoff:alice`, "nan", "EX", 300);
    const recall = (): Promise<unknown> => operate(testRedisUrl()).del(`${prefix}auth:cutoff:alice`);

    async function statuses({ url }: RunningApp, count: number): Promise<number[]> {
      const all: number[] = [];
      for (let index = 0; index < count; index += 1) all.push((await send(`${url}/me`, { token })).status);
      return all;
    }

    /** What is left of each limit for the next request of alice, by the answer to it. */
    async function remaining({ url }: RunningApp): Promise<Record<string, number>> {
      const { status, json } = await send(`${url}/me`, { token });
      expect(status).to.equal(200);
      const { quotas } = json as { quotas: { policy: string; remaining: number }[] };
      return Object.fromEntries(quotas.map(({ policy, remaining: left }) => [policy, left]));
    }

    it("is refused with 503, which uses up the limit of its address and no limit of its user", async () => {
      const app = await start();
      expect(await statuses(app, 1)).to.deep.equal([200]);
      await forget();
      expect(await statuses(app, refusals)).to.deep.equal(Array(refusals).fill(503));
      await recall();
      const left = await remaining(app);
      expect(left).to.deep.equal({
        ...{ address: 50 - 2 - refusals, fixed: 2, leased: 2, sliding: 2, bucket: 2, failures: 3, slots: 3 },
      });
    });

    it("is counted where it may pass", async () => {
      const app = await start({ revocation: { onStoreError: "allow" } });
      expect(await statuses(app, 1)).to.deep.equal([200]);
      await forget();
      expect(await statuses(app, 4)).to.deep.equal([200, 200, 200, 429]);
    });

    it("is not counted where it may pass if this process knows that it is revoked", async () => {
      const app = await start({ revocation: { onStoreError: "allow" } });
      const known = await signToken({ sub: "alice", jti: "known" });
      await app.gate.revocations.revoke({ jti: "known", expiresAt: nowSeconds() + 300 });
      await operate(testRedisUrl()).del(`${prefix}auth:revoked:known`);
      await forget();
      for (let index = 0; index < refusals; index += 1)
        expect((await send(`${app.url}/me`, { token: known })).status).to.equal(401);
      expect((await remaining(app)).fixed).to.equal(3);
    });

    it("is counted during the time of grace, and not after it", async () => {
      const patient = await start({ revocation: { onStoreError: { graceMs: 600_000 } } });
      expect(await statuses(patient, 1)).to.deep.equal([200]);
      await forget();
      expect(await statuses(patient, 2)).to.deep.equal([200, 200]);
      const strict = await start({ revocation: { onStoreError: { graceMs: 1 } } });
      expect(await statuses(strict, refusals)).to.deep.equal(Array(refusals).fill(503));
      await recall();
      expect((await remaining(strict)).fixed).to.equal(0);
    });

    // No framework has a part in this, and the gate looks for its keys once a second.
    if (index === 0) {
      it("is not counted either while its key in Redis is unknown", async () => {
        const marker = `${prefix}portcullis:2:shared-issuer`;
        await operate(testRedisUrl()).lpush(marker, "no marker");
        await operate(testRedisUrl()).expire(marker, 300);
        const app = await start({ limits: limits.slice(1) });
        expect(await statuses(app, refusals)).to.deep.equal(Array(refusals).fill(503));
        await operate(testRedisUrl()).del(marker);
        await until(async () => (await send(`${app.url}/me`, { token })).status !== 503);
        expect(await remaining(app)).to.include({ fixed: 2, leased: 2, sliding: 2 });
      });
    }
  });
}
