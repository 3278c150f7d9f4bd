import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { signToken, startCluster, startRedis, testAuth } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import { send } from "../../support/http.js";
import { startProcess } from "../../support/processes.js";

/** Redis, and how it is stopped and goes on. */
interface Backend {
  readonly url: string;
  readonly pause: () => void;
  readonly resume: () => void;
  readonly stop: () => Promise<void>;
}

async function startOne(): Promise<Backend> {
  const server = await startRedis();
  return { url: server.url, pause: server.pause, resume: server.resume, stop: server.stop };
}

async function startSeveral(): Promise<Backend> {
  const { nodes, seeds, stop } = await startCluster();
  return {
    url: `redis+cluster://${seeds.map(({ host, port }) => `${host}:${port}`).join(",")}`,
    pause: () => nodes.forEach((node) => node.pause()),
    resume: () => nodes.forEach((node) => node.resume()),
    stop,
  };
}

const frameworks = adapters.map(({ name }) => name);

for (const [where, startBackend, names] of [
  ["one Redis", startOne, frameworks],
  ["a Cluster", startSeveral, [...frameworks, ...frameworks]],
] as const) {
  describe(`a gate that is closed on ${where}`, function () {
    this.timeout(60_000);
    let redis: Backend;

    before(async () => {
      redis = await startBackend();
    });
    after(() => redis.stop());

    for (const state of ["well", "stopped"]) {
      it(`lets its process end, whatever it is doing (Redis is ${state})`, async () => {
        const children = await Promise.all(
          names.map((name) => startProcess(name, { redis: redis.url, auth: testAuth })),
        );
        const token = await signToken();
        await Promise.all(children.map((child) => send(`${child.url}/me`, { token })));
        if (state === "stopped") redis.pause();
        // The client of a Cluster asks for its slots every 500 ms, and waits as long for them: some are at it.
        const ends = await Promise.all(children.map((child, index) => sleep(150 * index).then(() => child.close())));
        redis.resume();
        for (const { code, ms } of ends) {
          expect(code).to.equal(0);
          // The promise is 1 s; a process that is held open is killed after 8 s.
          expect(ms).to.be.below(5000);
        }
      });
    }
  });
}
