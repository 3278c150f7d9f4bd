import { portcullis } from "@portcullis/express";
import { startRedis, testAuth } from "@portcullis/testkit";
import { Redis } from "ioredis";
import { expect } from "chai";
import { cleanUpInTest } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";

describe("a server that is a replica now", () => {
  it("is left once, however many calls it refuses at a time", async () => {
    const server = await startRedis();
    const admin = new Redis(server.url);
    const gate = portcullis({ redis: server.url, auth: testAuth, logger: silentLogger });
    const warnings: Error[] = [];
    const note = (warning: Error): unknown => warnings.push(warning);
    process.on("warning", note);
    cleanUpInTest(async () => {
      process.off("warning", note);
      await gate.close();
      admin.disconnect();
      await server.stop();
    });
    const revoke = (jti: string): Promise<void> =>
      gate.revocations.revoke({ jti, expiresAt: Math.ceil(Date.now() / 1000) + 60 });
    const works = (): Promise<boolean> =>
      revoke("first").then(
        () => true,
        () => false,
      );
    await until(works);
    await admin.call("REPLICAOF", "127.0.0.1", "1");
    const outcomes = await Promise.allSettled(Array.from({ length: 40 }, (_, index) => revoke(`token-${index}`)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).to.have.length(0);
    await admin.call("REPLICAOF", "NO", "ONE");
    await until(works);
    expect(warnings.map(({ message }) => message)).to.deep.equal([]);
  });
});
