import { expect } from "chai";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type { Consumption, CounterState } from "../../../packages/core/src/store/ports/decisions.js";
import { openGate } from "../../support/fake-gate.js";

/** That Redis decides alike is shown by test/store/contracts/decisions-agree.test.ts. */
describe("a block", () => {
  const limitOf = (extend: boolean): Consumption => ({
    ...{ key: "k", blockKey: "b", limit: 1, cost: 1, windowSeconds: 60 },
    mode: {
      algorithm: "fixed-window",
      shadow: false,
      block: { after: 1, firstMs: 60_000, maxMs: 60_000, extends: extend },
    },
  });

  function request(store: MemoryDecisionStore, consumption: Consumption): CounterState {
    return store.ask({ beforeToken: [consumption], token: undefined, afterToken: [] }).beforeToken[0] as CounterState;
  }

  for (const extend of [true, false]) {
    it(`${extend ? "begins again with each refusal, so that a client which goes on stays blocked" : "ends in its time whatever the client does"} (extend: ${extend})`, () => {
      let now = 1_000_000;
      const store = new MemoryDecisionStore({ now: () => now });
      const limit = limitOf(extend);
      expect(request(store, limit).blocked).to.equal(undefined);
      expect(request(store, limit).blocked).to.equal(true);
      for (let round = 0; round < 5; round += 1) {
        now += 10_000;
        const { blocked, resetMs } = request(store, limit);
        expect([blocked, resetMs]).to.deep.equal([true, extend ? 60_000 : 50_000 - round * 10_000]);
      }
      now += 20_000;
      expect(request(store, limit).blocked).to.equal(extend ? true : undefined);
      now += 60_001;
      expect(request(store, limit).blocked).to.equal(undefined);
    });
  }

  it("takes extend as true or false alone", () => {
    const block = { after: 1, for: "1m", extend: 1 } as never;
    const open = (): unknown => openGate({ limits: [{ name: "a", per: "ip", limit: 1, window: "1m", block }] });
    expect(open).to.throw(/limits\[0\]\.block\.extend must be true or false/);
  });
});
