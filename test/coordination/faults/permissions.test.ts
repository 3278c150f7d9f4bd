import { startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { readDocument } from "../../docs/documents.js";
import { cleanUp } from "../../support/clean-up.js";
import { openGate } from "../../support/fake-gate.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { operate } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

const document = readDocument("docs/operations.md");

describe("one-time values with a user who may do only what docs/operations.md says", () => {
  async function open(...more: string[]): Promise<FakeGate> {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const [, rules = ""] = /ACL SETUSER gate ([^`]+)```/.exec(document) ?? [];
    await operate(redis.url).call("ACL", "SETUSER", "gate", ...rules.trim().split(/\s+/), ...more);
    return openGate({ redis: `redis://gate:password@127.0.0.1:${redis.port}`, service: "one-time", deadline: 2000 });
  }

  it("do everything", async () => {
    const [, more = ""] = /\[One-time values\]\([^)]*\) need `(\+\w+)` besides/.exec(document) ?? [];
    const gate = await open(more);
    for (const subject of [undefined, "alice"]) {
      const { token } = await gate.oneTime.issue("confirm", 1, { ttl: "1m", subject });
      expect(await gate.oneTime.peek("confirm", token)).to.deep.equal({ data: 1, subject });
      expect(await gate.oneTime.consume("confirm", token)).to.deep.equal({ data: 1, subject });
      expect(await gate.oneTime.consume("confirm", token)).to.equal(undefined);
    }
    for (let count = 0; count < 12; count += 1) await gate.oneTime.issue("confirm", 1, { ttl: "1m", subject: "alice" });
    expect(await gate.oneTime.revoke("confirm", "alice")).to.equal(10);
    expect((await gate.examine()).map(({ code }) => code)).not.to.include("permission_missing");
  });

  it("are refused whole where a permission is missing, and the examination says so once they are used", async () => {
    const gate = await open("-set");
    expect((await gate.examine()).find(({ code }) => code === "permission_missing")?.message).not.to.include(
      "coordination",
    );
    const refused = { name: "StoreFault", status: 503, reply: "NOPERM" };
    for (const subject of [undefined, "alice"])
      expect(await rejectionOf(gate.oneTime.issue("confirm", 1, { ttl: "1m", subject }))).to.include(refused);
    expect(await rejectionOf(gate.oneTime.revoke("confirm", "alice"))).to.include(refused);
    expect((await gate.examine()).find(({ code }) => code === "permission_missing")?.message).to.include(
      "coordination",
    );
  });

  it("that name a subject need ZRANGE, and the examination says so once they are used", async () => {
    const gate = await open();
    const missing = async (): Promise<string | undefined> =>
      (await gate.examine()).find(({ code }) => code === "permission_missing")?.message;
    await gate.locks.using("name", {}, () => undefined);
    expect(await missing()).to.equal(undefined);
    const fault = await rejectionOf(gate.oneTime.issue("confirm", 1, { ttl: "1m", subject: "alice" }));
    expect(fault).to.include({ name: "StoreFault", reply: "NOPERM" });
    expect(await missing()).to.include("one-time values");
  });
});
