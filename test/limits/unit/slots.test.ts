import { expect } from "chai";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type { Answer, Consumption, Question } from "../../../packages/core/src/store/ports/decisions.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";

describe("the consumption of a request that takes a slot", () => {
  const original = Object.getOwnPropertyDescriptor(MemoryDecisionStore.prototype, "ask")!;
  const ask = original.value as (this: MemoryDecisionStore, question: Question) => Answer;
  afterEach(() => Object.defineProperty(MemoryDecisionStore.prototype, "ask", original));

  it("is an object of its own, and has nothing but what the store needs", async () => {
    const asked: Consumption[] = [];
    MemoryDecisionStore.prototype.ask = function askNoted(question) {
      asked.push(...question.beforeToken, ...question.afterToken);
      return ask.call(this, question);
    };
    const gate = openGate({ limits: [{ name: "p", per: "ip", limit: 5, algorithm: "concurrency" }] });
    const guard = gate.guard();
    for (let index = 0; index < 3; index += 1) await guard.check(fakeExchange());
    expect(new Set(asked).size).to.equal(3);
    expect(new Set(asked.map(({ slot }) => slot)).size).to.equal(3);
    const members = [
      "key",
      "limit",
      "windowSeconds",
      "cost",
      "mode",
      "burst",
      "blockKey",
      "refusesUnreadable",
      "owner",
      "leased",
      "note",
    ];
    for (const consumption of asked) expect(consumption).to.have.all.keys(...members, "slot");
  });
});
