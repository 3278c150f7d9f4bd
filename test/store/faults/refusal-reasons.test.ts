import { startRedis, signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { allAdapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { startRefusingProxy } from "../../support/refusing-proxy.js";
import { until } from "../../support/until.js";

/** Errors by which Redis refuses every call, and the reason that an operator reads. */
const errors: readonly (readonly [error: string, reason: string])[] = [
  ["LOADING Redis is loading the dataset in memory", "LOADING"],
  ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "MASTERDOWN"],
  ["CLUSTERDOWN Hash slot not served", "CLUSTERDOWN"],
  ["READONLY You can't write against a read only replica.", "READONLY"],
  ["NOPERM User u has no permissions to run the 'evalsha' command", "NOPERM"],
  ["MISCONF Redis is configured to save RDB snapshots", "MISCONF"],
  ["OOM command not allowed when used memory > 'maxmemory'.", "OOM"],
  ["NOAUTH Authentication required.", "NOAUTH"],
  ["BUSY Redis is busy running a script.", "BUSY"],
  ["NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"],
  ["TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN"],
  ["ERR max number of clients reached", "MAXCLIENTS"],
  ["ERR something new", "ERR"],
];

describe("a Redis that refuses calls", () => {
  for (const [index, [error, reason]] of errors.entries()) {
    const adapter = allAdapters[index % allAdapters.length];
    it(`with ${reason} is named in the detail of every refusal, also while the breaker is open (${adapter?.name})`, async () => {
      const server = await startRedis();
      cleanUp(() => server.stop());
      const proxy = await startRefusingProxy(server);
      const details: (readonly [cause: string, reason: unknown])[] = [];
      const logger = {
        debug: (fields: object) => {
          const { code, cause, detail } = fields as { code?: string; cause?: string; detail?: { reason?: string } };
          if (code === "store_unavailable") details.push([String(cause), detail?.reason]);
        },
        warn: () => undefined,
      };
      const app = await adapter!.start({
        options: { redis: proxy.url, auth: testAuth, logger, deadline: 1000, service: "orders" },
        use: (gate) => [
          gate.when({ path: "/login" }, gate.throttleLogin({ account: () => "alice", onStoreError: "deny" })),
          gate.unless({ path: "/login" }, gate.guard()),
          gate.idempotency({ required: false }),
        ],
        routes: { "GET /me": () => ({}), "POST /me": () => ({}), "POST /login": () => ({}) },
      });
      const token = await signToken();
      await until(async () => (await send(`${app.url}/me`, { token })).status === 200);
      const own = ["INFO", "CLIENT", "HELLO", "PING", "SUBSCRIBE", "QUIT", "AUTH"];
      proxy.refuse = ([name = ""]) => (own.includes(name.toUpperCase()) ? undefined : error);
      for (let round = 0; round < 15; round += 1) expect((await send(`${app.url}/me`, { token })).status).to.equal(503);
      for (let round = 0; round < 15; round += 1)
        expect((await send(`${app.url}/login`, { method: "POST" })).status).to.equal(503);
      expect(app.gate.breakers.some(({ state }) => state === "open")).to.equal(true);
      expect(details.length).to.be.at.least(30);
      expect(details.filter(([, said]) => said !== reason)).to.deep.equal([]);
      expect(details.some(([cause]) => cause.endsWith("open"))).to.equal(true);
    });
  }
});
