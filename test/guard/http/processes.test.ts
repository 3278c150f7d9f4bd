import { Agent } from "node:http";
import { expect } from "chai";
import { Redis } from "ioredis";
import { signToken, testAuth } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import { send } from "../../support/http.js";
import type { ServerProcess } from "../../support/processes.js";
import { startProcess } from "../../support/processes.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

describe("two processes on one Redis, one with Express and one with Koa,", function () {
  this.timeout(30_000);
  const prefix = freshPrefix();
  let redis: Redis;
  let processes: ServerProcess[];

  before(async () => {
    redis = new Redis(testRedisUrl());
    const options = {
      redis: testRedisUrl(),
      prefix,
      auth: testAuth,
      deadline: 2000,
      limits: [
        { name: "ip", per: "ip", limit: 100_000, window: "1m" },
        { name: "user", per: "user", limit: 50, window: "1m" },
      ],
    } as const;
    processes = await Promise.all(adapters.map(({ name }) => startProcess(name, options)));
  });

  after(async () => {
    const ends = await Promise.all(processes.map((process) => process.close()));
    redis.disconnect();
    for (const { code } of ends) expect(code).to.equal(0);
  });

  it("refuse a token at its next request once the other has revoked it", async () => {
    const token = await signToken({ sub: "revoker" });
    const [one, two] = processes as [ServerProcess, ServerProcess];
    for (const { url } of processes) expect((await send(`${url}/me`, { token })).status).to.equal(200);
    expect((await send(`${one.url}/logout`, { method: "POST", token })).status).to.equal(204);
    expect((await send(`${two.url}/me`, { token })).status).to.equal(401);
  });

  it("admit exactly the limit of 200 requests at once, and leave no key without an end", async () => {
    const token = await signToken({ sub: "busy" });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => send(`${processes[index % 2]!.url}/me`, { token })),
    );
    const count = (status: number) => answers.filter((answer) => answer.status === status).length;
    expect([count(200), count(429)]).to.deep.equal([50, 150]);
    const keys = await redis.keys(`${prefix}*`);
    expect(keys).to.not.be.empty;
    for (const key of keys) expect(await redis.pttl(key), key).to.be.greaterThan(0);
  });

  it("see each other's cached values", async () => {
    const token = await signToken({ sub: "reader" });
    const [one, two] = await Promise.all(processes.map(({ url }) => send(`${url}/cached`, { token })));
    const again = await send(`${processes[0]!.url}/cached`, { token });
    expect([one?.text, two?.text]).to.include(again.text);
  });

  it("ask Redis at most once for ten requests of 64 connections", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 64 });
    const tokens = await Promise.all(Array.from({ length: 64 }, (_, i) => signToken({ sub: `user${i}` })));
    const rounds = 20;
    for (const { url } of processes) {
      const round = () => Promise.all(tokens.map((token) => send(`${url}/me`, { token, agent })));
      await round();
      const before = await scriptCalls(redis);
      for (let i = 0; i < rounds; i += 1) {
        for (const { status } of await round()) expect(status).to.equal(200);
      }
      const calls = (await scriptCalls(redis)) - before;
      expect(calls / (rounds * tokens.length), url).to.be.at.most(0.1);
    }
    agent.destroy();
  });
});
async function scriptCalls(redis: Redis): Promise<number> {
  const stats = await redis.info("commandstats");
  return ["eval", "evalsha"].reduce((sum, command) => {
    const calls = new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1];
    return sum + Number(calls ?? 0);
  }, 0);
}
