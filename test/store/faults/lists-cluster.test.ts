import { StoreFault } from "@portcullis/core";
import type { Page } from "@portcullis/core";
import { portcullis } from "@portcullis/express";
import { startCluster, testAudience, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";

const hostile = [
  ...["a\u0000b", "x".repeat(200), "{tag}", "a}b{c", "\r\nDEL x", "__proto__", "constructor", "\u202eleft", "*?[a-z]"],
  ...["\ud83d\ude00", "%00", " first", "a:b:c", "\\", "\"'`", "-1", "NaN", "e\u0301", "\u00e9", "seeded-name"],
];
const subjects = [...hostile, ...Array.from({ length: 130 }, (_, index) => `user-${index}`)];
const deadline = 300;

/** All parts of a list. */
async function all<T>(list: (cursor: string | undefined) => Promise<Page<T>>): Promise<T[]> {
  const found: T[] = [];
  let cursor: string | undefined;
  do {
    const { items, next } = await list(cursor);
    found.push(...items);
    cursor = next;
  } while (cursor !== undefined);
  return found;
}

describe("lists, peeks and explanations on a Cluster", function () {
  this.timeout(30_000);

  it("are complete for hostile names, and end in time, without names, while a node stands still", async () => {
    const cluster = await startCluster();
    cleanUp(() => cluster.stop());
    const gate = portcullis({
      redis: { cluster: cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })) },
      deadline,
      auth: { audience: testAudience },
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAudience },
      limits: [{ name: "user", per: "user", limit: 50, window: "1m" }],
      logger: silentLogger,
    });
    cleanUp(() => gate.close());
    await until(() => gate.health().store.status === "up");
    let accessToken = "";
    for (let start = 0; start < subjects.length; start += 50) {
      const part = subjects.slice(start, start + 50);
      const issued = await Promise.all(part.map((subject) => gate.tokens.issue({ subject })));
      ({ accessToken } = issued[0] ?? { accessToken });
    }
    for (const subject of hostile) {
      await gate.quotas.setOverride("user", subject, { limit: 5 });
      await gate.quotas.block("user", subject, { for: "1h" });
    }

    async function expectComplete(): Promise<void> {
      const live = await all((cursor) => gate.sessions.subjects({ limit: 70, cursor }));
      expect(live.map(({ principal }) => principal)).to.have.members(subjects);
      const overrides = await all((cursor) => gate.quotas.overrides({ limit: 3, cursor }));
      const blocks = await all((cursor) => gate.quotas.blocks({ limit: 7, cursor }));
      for (const listed of [overrides, blocks])
        expect(new Set(listed.map(({ partition }) => partition)).size).to.equal(hostile.length);
      for (const { partition = "" } of overrides)
        expect((await gate.quotas.peek("user", { partition })).blocked).to.equal(true);
    }

    await expectComplete();
    const victim = cluster.nodes[1];
    if (victim === undefined) throw new Error("there is no node");
    process.kill(victim.pid, "SIGSTOP");
    cleanUp(() => process.kill(victim.pid, "SIGCONT"));
    const calls: (() => Promise<unknown>)[] = [
      () => gate.sessions.subjects(),
      () => gate.sessions.count(),
      () => gate.quotas.overrides(),
      () => gate.quotas.blocks(),
      ...hostile.map((subject) => () => gate.sessions.list(subject)),
      ...hostile.map((subject) => () => gate.quotas.peek("user", subject)),
    ];
    const start = performance.now();
    const outcomes = await Promise.allSettled([...calls.map(async (call) => call()), gate.explain(accessToken)]);
    expect(performance.now() - start).to.be.below(deadline * 10);
    expect(outcomes.at(-1)?.status).to.equal("fulfilled");
    const faults = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as Error] : []));
    expect(faults).not.to.be.empty;
    for (const fault of faults) {
      expect(fault).to.be.instanceOf(StoreFault);
      expect(`${fault.stack ?? ""} ${JSON.stringify(fault)}`).not.to.match(/seeded-|__proto__|user-\d/);
    }
    process.kill(victim.pid, "SIGCONT");
    await until(async () =>
      gate.sessions.count().then(
        () => true,
        () => false,
      ),
    );
    await until(async () =>
      expectComplete().then(
        () => true,
        (error: unknown) => {
          if (error instanceof StoreFault) return false;
          throw error;
        },
      ),
    );
  });
});
