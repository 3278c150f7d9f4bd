import { readFileSync } from "node:fs";
import { createGate } from "@portcullis/core/adapter";
import type { Gate } from "@portcullis/core";
import { startRedis, testIssuer, testSecret } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { operate } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";

describe("sessions with a Redis user that has only the permissions of docs/operations.md", () => {
  const document = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
  /** The rules of the two examples: what every gate needs, and what sessions need besides. */
  const [common = "", besides = ""] = Array.from(
    document.matchAll(/^ACL SETUSER gate ([^`]+)```/gm),
    ([, rules = ""]) => rules,
  );
  let server: RedisServer;

  beforeEach(async () => {
    server = await startRedis();
    cleanUp(() => server.stop());
  });

  async function openGate(...texts: string[]): Promise<Gate<unknown, object>> {
    const rules = texts.flatMap((text) => text.trim().split(/\s+/));
    await operate(server.url).call("ACL", "SETUSER", "gate", ...rules);
    const gate = createGate<unknown, object>(
      {
        redis: `redis://gate:password@127.0.0.1:${server.port}`,
        tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop", maxSessions: 2, overlap: 0 },
        deadline: 2000,
        logger: silentLogger,
      },
      () => ({}),
    );
    cleanUp(() => gate.close());
    return gate;
  }

  it("do everything", async () => {
    const gate = await openGate(common, besides);
    const [first, second] = [
      await gate.tokens.issue({ subject: "alice", org: "acme" }),
      await gate.tokens.issue({ subject: "alice", org: "acme" }),
    ];
    await gate.tokens.issue({ subject: "alice" });
    const refreshed = await gate.tokens.refresh(second.refreshToken);
    expect((await gate.verify(first.accessToken)).allowed, "one too many").to.equal(false);
    const verified = await gate.verify(refreshed.accessToken);
    if (!verified.allowed) throw new Error(verified.cause);
    expect(await gate.sessions.list("alice")).to.have.length(2);
    expect(await gate.sessions.revokeOthers(verified.auth)).to.equal(1);
    expect(await rejectionOf(gate.tokens.refresh(second.refreshToken))).to.include({
      code: "invalid_grant",
    });
    expect(await gate.sessions.revokeGroup("acme")).to.equal(0);
    expect(await gate.sessions.revokeAll("alice")).to.equal(0);
    expect((await gate.examine()).map(({ code }) => code)).not.to.include("permission_missing");
  });

  it("name the missing permission", async () => {
    const gate = await openGate(common);
    const error: unknown = await rejectionOf(gate.tokens.issue({ subject: "alice" }));
    expect(error).to.include({ code: "store_unavailable" });
    const finding = (await gate.examine()).find(({ code }) => code === "permission_missing");
    expect(finding?.message).to.match(/keeping sessions, telling other services of tokens/);
  });
});
