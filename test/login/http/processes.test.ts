import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { adapters } from "../../support/app.js";
import { send } from "../../support/http.js";
import type { ServerProcess } from "../../support/processes.js";
import { startProcess } from "../../support/processes.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rounds } from "../../support/soak.js";

describe("a password guesser against two processes on one Redis, one with Express and one with Koa,", function () {
  this.timeout(60_000);
  const prefix = freshPrefix();
  let redis: Redis;
  let processes: ServerProcess[];

  before(async () => {
    redis = new Redis(testRedisUrl());
    const options = { redis: testRedisUrl(), prefix, auth: testAuth, deadline: 5000 } as const;
    processes = await Promise.all(adapters.map(({ name }) => startProcess(name, options)));
  });

  after(async () => {
    const ends = await Promise.all(processes.map((process) => process.close()));
    redis.disconnect();
    for (const { code } of ends) expect(code).to.equal(0);
  });

  const checks = async (): Promise<number> => {
    const answers = await Promise.all(processes.map(({ url }) => send(`${url}/checks`)));
    return answers.reduce((sum, { json }) => sum + (json as { checks: number }).checks, 0);
  };
  const guess = async (index: number, account: string) =>
    send(`${processes[index % 2]!.url}/login`, { method: "POST", headers: { "x-account": account } });

  it("has 5 of 100 wrong passwords at once looked at, and leaves no key without an end", async () => {
    for (let round = 0; round < rounds; round += 1) {
      const before = await checks();
      const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => guess(index, `user${round}`)));
      const count = (status: number) => answers.filter((answer) => answer.status === status).length;
      expect([count(401), count(429), (await checks()) - before]).to.deep.equal([5, 95, 5]);
      await send(`${processes[0]!.url}/unblock`, { method: "POST" });
    }
    const keys = await redis.keys(`${prefix}*`);
    expect(keys).to.include(`${prefix}auth:failed:user0`);
    for (const key of keys) expect(await redis.pttl(key), key).to.be.greaterThan(0);
  });
});
