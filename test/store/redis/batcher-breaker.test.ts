import { setImmediate as turn } from "node:timers/promises";
import { expect } from "chai";
import { Breaker } from "../../../packages/core/src/lib/breaker.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { kinds, openBatcher, range } from "../support/batcher.js";
import type { Sent } from "../support/batcher.js";

/** A breaker that is open, on a clock of its own, and a way to the moment of its probe. */
function openedBreaker(): { breaker: Breaker; toProbe: () => void } {
  let ms = 0;
  const breaker = new Breaker({ name: "test", now: () => ms, random: () => 0.5 });
  range(5).forEach(() => breaker.fail());
  return { breaker, toProbe: () => (ms += 1000) };
}

describe("a breaker in front of a batch", () => {
  it("refuses at once while it is open", async () => {
    const { breaker } = openedBreaker();
    const { batcher, state } = openBatcher({ breaker });
    const answer = batcher.ask(1);
    expect(answer).to.be.instanceOf(StoreFault).and.to.include({ kind: "open" });
    await turn();
    expect(state.sent).to.have.length(0);
  });

  it("lets one question of 100 through as a probe", async () => {
    const { breaker, toProbe } = openedBreaker();
    const { ask, state } = openBatcher({ breaker });
    toProbe();
    const answers = range(100).map(ask);
    await turn();
    expect(state.sent.map(({ items }) => items)).to.deep.equal([[0]]);
    breaker.succeed();
    state.sent[0]?.succeed();
    expect(kinds(await Promise.all(answers)).filter((kind) => kind !== "open")).to.deep.equal(["answer 0"]);
    expect(breaker.state).to.equal("closed");
  });

  for (const [name, end] of [
    ["times out", () => undefined],
    ["is rejected", (sent: Sent) => sent.reject(new Error("gone"))],
  ] as const) {
    it(`opens again when the probe ${name}, and allows the next one later`, async () => {
      const { breaker, toProbe } = openedBreaker();
      const { ask, state } = openBatcher({ breaker, deadlineMs: 20 });
      for (let round = 0; round < 3; round += 1) {
        toProbe();
        const answer = ask(round);
        await turn();
        end(state.sent[round]!);
        expect(await answer).to.be.instanceOf(StoreFault);
        expect(breaker.state).to.equal("open");
      }
    });
  }

  it("opens on the 5th failed batch in a row, however it failed", async () => {
    const { ask, state, breaker } = openBatcher({ deadlineMs: 20 });
    for (let round = 0; round < 5; round += 1) {
      expect(breaker.state).to.equal("closed");
      const answer = ask(round);
      await turn();
      if (round % 2 === 0) state.sent[round]?.reject(new Error("Connection is closed."));
      expect(await answer).to.be.instanceOf(StoreFault);
    }
    expect(breaker.state).to.equal("open");
  });

  it("stays closed where the server answers, but with an error of the question", async () => {
    const { ask, state, breaker } = openBatcher();
    for (let round = 0; round < 30; round += 1) {
      const answer = ask(round);
      await turn();
      state.sent[round]?.reject(Object.assign(new Error("WRONGTYPE Operation against a key"), { name: "ReplyError" }));
      expect(kinds([await answer])).to.deep.equal(["unreadable"]);
    }
    expect(breaker.state).to.equal("closed");
  });
});

describe("errors of a transport", () => {
  const errors: readonly (readonly [unknown, string])[] = [
    [new Error("Connection is closed."), "unreachable"],
    [new Error("Command timed out"), "timeout"],
    [new StoreFault("overloaded"), "overloaded"],
    ["a text", "unreachable"],
    [undefined, "unreachable"],
    [null, "unreachable"],
    ...[
      "OOM command not allowed",
      "READONLY You can't write",
      "LOADING Redis is loading",
      "NOAUTH Authentication required.",
      "BUSY Redis is busy",
      "MISCONF x",
      "CLUSTERDOWN x",
      "NOPERM x",
      "ERR max number of clients reached",
      "ERR unknown command",
      "ERR max requests limit exceeded. Limit: 9, Usage: 9",
      "CROSSSLOT Keys",
      "MOVED 1 127.0.0.1:1",
      "upstream failure",
      "an error in any words",
      "",
    ].map((message) => [Object.assign(new Error(message), { name: "ReplyError" }), "refused"] as const),
    ...["WRONGTYPE x", "NOSCRIPT x", "ERR value is not an integer or out of range"].map(
      (message) => [Object.assign(new Error(message), { name: "ReplyError" }), "unreadable"] as const,
    ),
  ];

  for (const [error, kind] of errors) {
    it(`${error instanceof Error ? `${error.name} "${error.message}"` : String(error)} are the fault ${kind}, which tells nothing of the question`, async () => {
      const { ask, state } = openBatcher();
      const answer = ask(1);
      await turn();
      if (error instanceof Error && !(error instanceof StoreFault))
        Object.assign(error, { command: { name: "auth", args: ["hunter2"] } });
      state.sent[0]?.reject(error);
      const fault = await answer;
      expect(fault).to.be.instanceOf(StoreFault).and.to.include({ kind });
      expect(JSON.stringify(fault)).not.to.include("hunter2");
    });
  }
});
