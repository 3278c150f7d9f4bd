import { once } from "node:events";
import { Agent } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { RedisServer } from "@portcullis/testkit";
import { signToken, startRedis, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { forkScript } from "../../support/fork.js";
import { send } from "../../support/http.js";
import type { FleetOrder, FleetReport } from "../../support/rolling-fleet.js";

const script = new URL("../../support/rolling-fleet.ts", import.meta.url);
const clients = 8;

describe("three processes that are replaced one after the other under load", function () {
  this.timeout(60_000);
  let redis: RedisServer;

  before(async () => (redis = await startRedis()));
  after(() => redis.stop());

  async function startFleet(order: FleetOrder) {
    const fleet = forkScript(script);
    cleanUp(() => fleet.kill("SIGKILL"));
    const next = async (): Promise<FleetReport> => ((await once(fleet, "message")) as [FleetReport])[0];
    fleet.send(order);
    const { port } = await next();
    return {
      url: `http://127.0.0.1:${port}/me`,
      async replaceAll() {
        const replaced = next();
        fleet.send("replace");
        return (await replaced).stops;
      },
    };
  }

  it("refuse no request, and each one stops within seconds", async () => {
    const limits = [{ name: "ip", per: "ip", limit: 1_000_000, window: "1h" }] as const;
    // The start of a process takes a processor for seconds: on a machine of two, Redis may answer late.
    const options = { redis: redis.url, auth: testAuth, limits, deadline: 5000 };
    const fleet = await startFleet({ options, pauseMs: 300 });
    const token = await signToken();
    const agent = new Agent({ keepAlive: true, maxSockets: clients });
    cleanUp(() => agent.destroy());
    const statuses = new Map<number | string, number>();
    let isRunning = true;

    async function visit(): Promise<void> {
      while (isRunning) {
        const status = await send(fleet.url, { token, agent }).then(
          (answer) => answer.status,
          // A connection that is closed just as the client uses it: clients try again.
          (error: unknown) => (error as { code: string }).code,
        );
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        await sleep(1);
      }
    }

    const load = Promise.all(Array.from({ length: clients }, visit));
    const stops = await fleet.replaceAll();
    isRunning = false;
    await load;
    expect(stops.map(({ code }) => code)).to.deep.equal([0, 0, 0]);
    for (const { ms } of stops) expect(ms).to.be.below(8000);
    const refused = [...statuses].filter(([status]) => typeof status === "number" && status !== 200);
    expect(refused).to.deep.equal([]);
    expect(statuses.get(200)).to.be.greaterThan(100);
  });
});
