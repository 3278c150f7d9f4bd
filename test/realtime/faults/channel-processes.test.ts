import { once } from "node:events";
import type { ChildProcess } from "node:child_process";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { forkScript } from "../../support/fork.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { isSoak } from "../../support/soak.js";
import { until } from "../../support/until.js";
import type { ChannelCommand, ChannelReport } from "../support/channel-worker.js";

const script = new URL("../support/channel-worker.ts", import.meta.url);

/** A process with a subscriber. */
interface Worker {
  readonly child: ChildProcess;
  readonly messages: { readonly n: number; readonly id: string | undefined; readonly own: boolean }[];
  readonly gaps: string[];
  /** Resolves when the command has been carried out. */
  tell(command: ChannelCommand): Promise<void>;
}

async function startWorker(prefix: string): Promise<Worker> {
  const child = forkScript(script);
  cleanUp(() => child.kill("SIGKILL"));
  const waiting: (() => void)[] = [];
  const worker: Worker = {
    child,
    messages: [],
    gaps: [],
    async tell(command) {
      const done = new Promise<void>((resolve) => waiting.push(resolve));
      child.send(command);
      await done;
    },
  };
  child.on("message", (report: ChannelReport) => {
    if (report.type === "message") worker.messages.push(report);
    if (report.type === "done") waiting.shift()?.();
    if (report.type === "gap") worker.gaps.push(report.reason);
  });
  await worker.tell({ op: "open", url: testRedisUrl(), prefix });
  return worker;
}

describe("reliable channels of several processes", function () {
  this.timeout(isSoak ? 600_000 : 60_000);

  it("lose and repeat nothing for processes that stand still, die and resume, in one order for all", async () => {
    const each = isSoak ? 20_000 : 400;
    const prefix = freshPrefix();
    const [one, two, frozen, dying] = await Promise.all(Array.from({ length: 4 }, async () => startWorker(prefix)));
    if (one === undefined || two === undefined || frozen === undefined || dying === undefined) throw new Error("none");
    for (const worker of [one, frozen, dying]) await worker.tell({ op: "subscribe" });
    const publishing = Promise.all([
      one.tell({ op: "publish", from: 0, count: each }),
      two.tell({ op: "publish", from: 100_000, count: each }),
    ]);
    await until(() => frozen.messages.length > 20 && dying.messages.length > 20);
    frozen.child.kill("SIGSTOP");
    dying.child.kill("SIGKILL");
    await once(dying.child, "exit");
    await publishing;
    await until(() => one.messages.length === 2 * each);
    frozen.child.kill("SIGCONT");
    await until(() => frozen.messages.length === 2 * each);
    const successor = await startWorker(prefix);
    await successor.tell({ op: "subscribe", after: dying.messages.at(-1)?.id });
    await until(() => dying.messages.length + successor.messages.length >= 2 * each);

    const order = one.messages.map(({ n }) => n);
    const published = (from: number): number[] => Array.from({ length: each }, (_, index) => from + index);
    expect(order.filter((n) => n < 100_000)).to.deep.equal(published(0));
    expect(order.filter((n) => n >= 100_000)).to.deep.equal(published(100_000));
    expect(frozen.messages.map(({ n }) => n)).to.deep.equal(order);
    expect([...dying.messages, ...successor.messages].map(({ n }) => n)).to.deep.equal(order);
    expect(one.messages.every(({ n, own }) => own === n < 100_000)).to.equal(true);
    expect(frozen.messages.some(({ own }) => own)).to.equal(false);
    expect([one, frozen, dying, successor].flatMap(({ gaps }) => gaps)).to.deep.equal([]);
  });
});
