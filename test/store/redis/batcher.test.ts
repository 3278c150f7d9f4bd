import { once } from "node:events";
import { setImmediate as turn, setTimeout as pause } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { expect } from "chai";
import fc from "fast-check";
import { Breaker } from "../../../packages/core/src/lib/breaker.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { Batcher } from "../../../packages/core/src/store/redis/batcher.js";
import { kinds, openBatcher, range } from "../support/batcher.js";
import type { Reply } from "../support/batcher.js";

describe("questions of one turn of the event loop", () => {
  it("are one batch, sent after the sockets were read and not before", async () => {
    const { ask, state } = openBatcher();
    const answers = [ask(1), ask(2)];
    await Promise.resolve();
    await new Promise((resolve) => process.nextTick(resolve));
    answers.push(ask(3));
    expect(state.sent).to.have.length(0);
    await turn();
    expect(state.sent.map(({ items }) => items)).to.deep.equal([[1, 2, 3]]);
    state.sent[0]?.succeed();
    expect(await Promise.all(answers)).to.deep.equal(["answer 1", "answer 2", "answer 3"]);
  });

  it("are batches of at most maxBatch, in order", async () => {
    const { ask, state } = openBatcher();
    const answers = range(11).map(ask);
    await turn();
    expect(state.sent.map(({ items }) => items)).to.deep.equal([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
    for (let index = 0; index < 3; index += 1) {
      state.sent[index]?.succeed();
      await turn();
    }
    expect(state.sent[2]?.items).to.deep.equal([8, 9, 10]);
    expect(await Promise.all(answers)).to.deep.equal(range(11).map((item) => `answer ${item}`));
  });

  it("do not wait for those of the turn before, until two batches are under way", async () => {
    const { ask, state } = openBatcher();
    const answers: Promise<Reply>[] = [];
    for (const item of range(5)) {
      answers.push(ask(item));
      await turn();
    }
    expect(state.sent.map(({ items }) => items)).to.deep.equal([[0], [1]]);
    state.sent[1]?.succeed();
    await turn();
    expect(state.sent[2]?.items).to.deep.equal([2]);
    for (let index = 0; index < 5; index += 1) {
      for (const sent of state.sent) sent.succeed();
      await turn();
    }
    expect(kinds(await Promise.all(answers))).to.deep.equal(range(5).map((item) => `answer ${item}`));
    expect(state.mostUnderWay).to.equal(2);
  });

  it("may have no promise: each answer, fault and refusal is passed on once, in order", async () => {
    const settled: string[] = [];
    const settle = (item: number, answer: Reply): void => {
      settled.push(`${item}: ${kinds([answer]).join()}`);
    };
    const { batcher, ask, state, breaker } = openBatcher({ settle });
    for (const item of range(2)) batcher.add(item);
    const asked = ask(2);
    await turn();
    expect(settled).to.deep.equal([]);
    state.sent[0]?.resolve(["zero", new StoreFault("unreadable", "WRONGTYPE"), "two"]);
    expect(await asked).to.equal("two");
    expect(settled).to.deep.equal(["0: zero", "1: unreadable"]);
    breaker.open();
    batcher.add(3);
    expect(settled).to.deep.equal(["0: zero", "1: unreadable", "3: open"]);
  });

  it("get each its own answer, and a fault of one is that one's alone", async () => {
    const { ask, state, breaker } = openBatcher();
    const answers = range(3).map(ask);
    await turn();
    state.sent[0]?.resolve(["zero", new StoreFault("unreadable", "WRONGTYPE"), "two"]);
    expect(kinds(await Promise.all(answers))).to.deep.equal(["zero", "unreadable", "two"]);
    expect(breaker.state).to.equal("closed");
  });
});

describe("the deadline", () => {
  it("answers all questions: those under way and those that wait", async () => {
    const { ask, state } = openBatcher({ deadlineMs: 20 });
    const answers = range(20).map(ask);
    const start = performance.now();
    expect(new Set(kinds(await Promise.all(answers)))).to.deep.equal(new Set(["timeout"]));
    expect(performance.now() - start).to.be.below(1000);
    expect(state.sent.length).to.be.at.least(2);
  });

  it("ends waiting questions without sending them: their callers have an answer, and Redis must not count them", async () => {
    const { ask, state } = openBatcher({ deadlineMs: 20, breaker: new Breaker({ name: "test" }) });
    await Promise.all(range(20).map(ask));
    await turn();
    expect(state.sent.map(({ items }) => items)).to.deep.equal([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
  });

  it("drops replies that come later, and counts nothing twice by them", async () => {
    const { ask, state } = openBatcher({ deadlineMs: 200 });
    const late = [ask(1), ask(2)];
    expect(kinds(await Promise.all(late))).to.deep.equal(["timeout", "timeout"]);
    state.sent[0]?.succeed();
    await turn();
    expect(kinds(await Promise.all(late))).to.deep.equal(["timeout", "timeout"]);
    const next: Promise<Reply>[] = [];
    for (const item of range(4, 10)) {
      next.push(ask(item));
      await turn();
    }
    expect(state.sent.slice(1).map(({ items }) => items)).to.deep.equal([[10], [11]]);
    await Promise.all(next);
  });

  it("swallows errors that come later", async () => {
    const { ask, state } = openBatcher({ deadlineMs: 20 });
    expect(kinds([await ask(1)])).to.deep.equal(["timeout"]);
    state.sent[0]?.reject(new Error("connection lost"));
    await pause(5);
  });

  it("counts as one failure of the breaker for each batch, not for each question", async () => {
    const { ask, breaker } = openBatcher({ deadlineMs: 10, maxBatch: 64 });
    for (let round = 0; round < 4; round += 1) await Promise.all(range(60).map(ask));
    expect(breaker.state).to.equal("closed");
    await Promise.all(range(60).map(ask));
    expect(breaker.state).to.equal("open");
  });

  it("is no fault where our own event loop stood still and the reply is already there", async () => {
    const flag = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(
      `const { parentPort, workerData: flag } = require("node:worker_threads");
      parentPort.on("message", (message) => {
        parentPort.postMessage(message);
        Atomics.store(flag, 0, 1);
        Atomics.notify(flag, 0);
      });`,
      { eval: true, workerData: flag },
    );
    await once(worker, "online");
    const breaker = new Breaker({ name: "test" });
    const batcher = new Batcher<number, string>({
      breaker,
      deadlineMs: 50,
      maxBatch: 64,
      maxInFlight: 2,
      async send(items) {
        const reply = once(worker, "message") as Promise<[number[]]>;
        worker.postMessage(items);
        const [echoed] = await reply;
        breaker.succeed();
        return echoed.map((item) => `answer ${item}`);
      },
    });
    try {
      for (let round = 0; round < 3; round += 1) {
        const answer = batcher.ask(round);
        await turn();
        // Until the reply is there, and then past the deadline.
        Atomics.wait(flag, 0, 0, 5000);
        Atomics.wait(flag, 0, 1, 100);
        Atomics.store(flag, 0, 0);
        expect(kinds([await answer])).to.deep.equal([`answer ${round}`]);
      }
    } finally {
      await worker.terminate();
    }
    expect(breaker.state).to.equal("closed");
  });
});

describe("before the first connection", () => {
  it("questions wait, and are sent when it is made", async () => {
    const { ask, state, batcher } = openBatcher();
    state.ready = false;
    const answers = range(6).map(ask);
    await pause(5);
    expect(state.sent).to.have.length(0);
    state.ready = true;
    batcher.wake();
    expect(state.sent.map(({ items }) => items.length)).to.deep.equal([4, 2]);
    for (const sent of state.sent) sent.succeed();
    expect(await Promise.all(answers)).to.deep.equal(range(6).map((item) => `answer ${item}`));
  });

  it("they wait no longer than the deadline, and are not sent afterwards", async () => {
    const { ask, state, batcher } = openBatcher({ deadlineMs: 20 });
    state.ready = false;
    expect(new Set(kinds(await Promise.all(range(9).map(ask))))).to.deep.equal(new Set(["timeout"]));
    state.ready = true;
    batcher.wake();
    await turn();
    expect(state.sent).to.have.length(0);
  });
});

describe("too many questions", () => {
  it("are refused at once, and taken again when others are settled", async () => {
    const { batcher, ask } = openBatcher({ deadlineMs: 50, maxBatch: 64, breaker: new Breaker({ name: "test" }) });
    const answers = range(4096).map(ask);
    expect(batcher.ask(4096)).to.be.instanceOf(StoreFault).and.to.include({ kind: "overloaded" });
    expect(batcher.ask(4097)).to.include({ kind: "overloaded" });
    await Promise.all(answers);
    const next = batcher.ask(1);
    expect(next instanceof StoreFault && next.kind === "overloaded").to.be.false;
  });
});

describe("a closed batcher", () => {
  it("answers waiting and new questions with a fault, sends nothing, and leaves nothing pending", async () => {
    const { batcher, ask, state } = openBatcher({ deadlineMs: 50 });
    state.ready = false;
    const answers = range(9).map(ask);
    await turn();
    answers.push(...range(3, 20).map(ask));
    batcher.close();
    expect(new Set(kinds(await Promise.all(answers)))).to.deep.equal(new Set(["unreachable"]));
    expect(batcher.ask(1)).to.be.instanceOf(StoreFault).and.to.include({ kind: "unreachable" });
    state.ready = true;
    batcher.wake();
    await turn();
    expect(state.sent).to.have.length(0);
    batcher.close();
  });

  it("still passes on the answers to questions under way", async () => {
    const { batcher, ask, state } = openBatcher({ deadlineMs: 50 });
    const answers = [ask(1), ask(2)];
    await turn();
    batcher.close();
    state.sent[0]?.succeed();
    expect(await Promise.all(answers)).to.deep.equal(["answer 1", "answer 2"]);
  });
});

describe("whatever happens to batches", () => {
  it("every question is settled once, with its own answer or a fault", async () => {
    const wave = fc.record({
      asks: fc.nat({ max: 12 }),
      outcome: fc.constantFrom("succeed", "succeed", "reject", "hang", "late", "faults"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(wave, { minLength: 1, maxLength: 8 }), async (waves) => {
        const { ask, state } = openBatcher({ deadlineMs: 8, maxBatch: 3, breaker: new Breaker({ name: "test" }) });
        const answers: Promise<Reply>[] = [];
        let counted = 0;
        for (const { asks, outcome } of waves) {
          for (const item of range(asks, counted)) answers.push(ask(item));
          counted += asks;
          await turn();
          for (const sent of state.sent.splice(0)) {
            if (outcome === "succeed") sent.succeed();
            else if (outcome === "reject") sent.reject(new Error("gone"));
            else if (outcome === "faults") sent.resolve(sent.items.map(() => new StoreFault("unreadable")));
            else if (outcome === "late") setTimeout(sent.succeed, 12);
          }
        }
        (await Promise.all(answers)).forEach((answer, index) => {
          expect(answer instanceof StoreFault || answer === `answer ${index}`).to.be.true;
        });
      }),
      { numRuns: 100 },
    );
  });
});
