import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type { Answer, Consumption } from "../../../packages/core/src/store/ports/decisions.js";
import { LossAwareStore, LossDetector } from "../../../packages/core/src/store/redis/data-loss.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";

/** Two parts of a Cluster, each with a marker, of which one may be away. */
function open(replace: boolean) {
  const held = new Map<string, string>();
  const state = { away: new Set<string>(), losses: 0, looks: 0 };
  const connection = {
    isUp: () => true,
    hasConnected: () => true,
    onConnect: () => () => undefined,
    client: {
      async call(_command: string, _sha: string, _count: number, key: string, offered: string) {
        await Promise.resolve();
        state.looks += 1;
        if (state.away.has(key)) throw new Error("CLUSTERDOWN The cluster is down");
        if (!held.has(key) && offered !== "") held.set(key, offered);
        return held.get(key) ?? "";
      },
    },
  } as unknown as Connection;
  const detector = new LossDetector({
    ...{ connection, replace, heartbeatMs: 5, telemetry: new Telemetry(), logger: silentLogger },
    markers: () => ["a", "b"],
    onLoss: () => void (state.losses += 1),
  });
  detector.start();
  cleanUp(() => detector.close());
  return { detector, held, state };
}

async function looked(state: { looks: number }): Promise<void> {
  const enough = state.looks + 6;
  await until(() => state.looks >= enough);
  await sleep(1);
}

describe("a loss in one part of a Cluster", () => {
  for (const replace of [true, false]) {
    it(`is noticed while another part is away (${replace ? "reported" : "refused"})`, async () => {
      const { detector, held, state } = open(replace);
      await until(() => held.size === 2);
      await looked(state);
      state.away.add("b");
      await looked(state);
      expect([detector.lost, state.losses]).to.deep.equal([false, 0]);
      held.delete("a");
      await until(() => state.losses === 1);
      await looked(state);
      expect([detector.lost, state.losses]).to.deep.equal([!replace, 1]);
      state.away.clear();
      await looked(state);
      expect(state.losses).to.equal(1);
    });
  }

  it("is noticed by a process that started while another part was away", async () => {
    const { held, state } = open(true);
    state.away.add("b");
    await until(() => held.has("a"));
    await looked(state);
    held.delete("a");
    await until(() => state.losses === 1);
  });

  it("counts when that part returns without its data", async () => {
    const { held, state } = open(true);
    await until(() => held.size === 2);
    await looked(state);
    state.away.add("b");
    held.delete("b");
    await looked(state);
    expect(state.losses).to.equal(0);
    state.away.clear();
    await until(() => state.losses === 1);
  });
});

describe("a store that has lost data", () => {
  it("counts for no user whose token it refuses for that, and for those who may pass", async () => {
    const store = new MemoryDecisionStore();
    let [isLost, denies] = [true, true];
    const aware = new LossAwareStore({ store, isLost: () => isLost, denies: () => denies });
    const charge = (key: string): Consumption => ({ key, limit: 9, windowSeconds: 60, cost: 1 });
    const token = { revokedKey: "revoked", cutoffKeys: [], issuedAt: 1 };
    const ask = async (refusesUnknown: boolean, more: object = {}): Promise<unknown[]> => {
      const question = { beforeToken: [charge("ip")], token, afterToken: [charge("user")], refusesUnknown, ...more };
      const { beforeToken, revoked, afterToken } = (await aware.ask(question)) as Answer;
      const told = [...beforeToken, ...afterToken].map(
        (state) => (state as { consumed: number } | undefined)?.consumed,
      );
      return [(revoked as { kind?: string } | undefined)?.kind ?? revoked, ...told];
    };
    expect(await ask(true)).to.deep.equal(["lost", 1, undefined]);
    expect(await ask(true)).to.deep.equal(["lost", 2, undefined]);
    expect(await ask(false)).to.deep.equal(["lost", 3, 1]);
    expect(await ask(true, { token: undefined })).to.deep.equal([undefined, 4, 2]);
    denies = false;
    expect(await ask(true)).to.deep.equal([false, 5, 3]);
    [isLost, denies] = [false, true];
    expect(await ask(true)).to.deep.equal([false, 6, 4]);
    isLost = true;
    await store.revoke("revoked", Date.now() / 1000 + 60);
    expect(await ask(true)).to.deep.equal([true, 7, undefined]);
  });
});
