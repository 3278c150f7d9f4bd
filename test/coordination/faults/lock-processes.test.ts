import { on } from "node:events";
import type { ChildProcess } from "node:child_process";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { forkScript } from "../../support/fork.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { isSoak } from "../../support/soak.js";
import { until } from "../../support/until.js";
import { FencedResource } from "../support/fenced.js";
import type { LockOrder, LockReport } from "../support/lock-worker.js";

const script = new URL("../support/lock-worker.ts", import.meta.url);

/** A process with a gate. */
interface Worker {
  readonly child: ChildProcess;
  readonly reports: LockReport[];
  send(order: LockOrder): void;
  /** Resolves with the next report of a type, from now on or of before. */
  next<Type extends LockReport["type"]>(type: Type): Promise<Extract<LockReport, { type: Type }>>;
}

function startWorker(prefix: string): Worker {
  const child = forkScript(script);
  cleanUp(() => child.kill("SIGKILL"));
  const reports: LockReport[] = [];
  child.on("message", (report: LockReport) => reports.push(report));
  const send = (order: LockOrder): void => void child.send(order);
  send({ op: "open", url: testRedisUrl(), prefix });
  return {
    child,
    reports,
    send,
    async next(type) {
      const of = (report: LockReport): report is Extract<LockReport, { type: typeof type }> => report.type === type;
      let found = reports.find(of);
      if (found === undefined) {
        for await (const [report] of on(child, "message") as AsyncIterable<[LockReport]>) {
          if (!of(report)) continue;
          found = report;
          break;
        }
      }
      if (found === undefined) throw new Error("the process has ended");
      reports.splice(reports.indexOf(found), 1);
      return found;
    },
  };
}

describe("in a fleet of processes, with fenced writes,", function () {
  this.timeout(isSoak ? 600_000 : 60_000);

  it("locks lose no increment, also where a process stands still for longer than its lease, twice", async () => {
    const [processes, count, leaseMs] = [8, isSoak ? 1000 : 40, 400];
    const prefix = freshPrefix();
    const workers = Array.from({ length: processes }, () => startWorker(prefix));
    await Promise.all(workers.map(async (worker) => worker.next("done")));
    for (const [index, worker] of workers.entries())
      worker.send({ op: "increment", count, lease: leaseMs, showAt: index === 0 ? [2, 4] : [] });
    const resource = new FencedResource(operate(testRedisUrl()), `${prefix}resource:`);
    const [stopped] = workers;
    for (let time = 0; time < 2; time += 1) {
      await stopped?.next("holding");
      stopped?.child.kill("SIGSTOP");
      const before = (await resource.log()).length;
      await until(async () => (await resource.log()).length > before);
      stopped?.child.kill("SIGCONT");
      stopped?.send({ op: "go on" });
    }
    const results = await Promise.all(workers.map(async (worker) => worker.next("incremented")));
    expect(await resource.value()).to.equal(processes * count);
    // Its late writes were refused.
    expect(results[0]).to.deep.include({ refused: 2, lost: 2 });
    const log = await resource.log();
    expect(log).to.have.length(processes * count);
    const fences = log.map(({ fence }) => fence);
    expect(new Set(fences).size).to.equal(fences.length);
    expect(fences).to.deep.equal([...fences].sort((a, b) => a - b));
  });

  it("leaders follow each other within twice the lease, and the writes of two are never accepted", async () => {
    const [changes, leaseMs] = [isSoak ? 100 : 5, 1000];
    const prefix = freshPrefix();
    const resource = new FencedResource(operate(testRedisUrl()), `${prefix}resource:`);
    const workers: Worker[] = [];
    async function join(): Promise<void> {
      const worker = startWorker(prefix);
      await worker.next("done");
      worker.send({ op: "lead", lease: leaseMs });
      workers.push(worker);
    }
    const leaderIn = (log: readonly { writer: string; fence: number }[]): Worker | undefined => {
      const last = log.at(-1)?.writer;
      return workers.find(({ child }) => String(child.pid) === last);
    };
    await Promise.all([join(), join(), join()]);
    await until(async () => (await resource.log()).length > 0);
    const took: number[] = [];
    for (let change = 0; change < changes; change += 1) {
      const before = await resource.log();
      const leader = leaderIn(before);
      if (leader === undefined) throw new Error("nobody leads");
      const isKilled = change % 2 === 0;
      const start = performance.now();
      leader.child.kill(isKilled ? "SIGKILL" : "SIGSTOP");
      const ended = (await resource.log()).at(-1)?.fence ?? 0;
      await until(async () => ((await resource.log()).at(-1)?.fence ?? 0) > ended);
      took.push(performance.now() - start);
      if (isKilled) {
        workers.splice(workers.indexOf(leader), 1);
        await join();
      } else {
        leader.child.kill("SIGCONT");
        const end = await leader.next("ended");
        expect(end.fence).to.equal(ended);
        expect(end.refused).to.be.at.least(1);
      }
    }
    const log = await resource.log();
    const writers = new Map<number, string>();
    let highest = 0;
    for (const { fence, writer } of log) {
      expect(fence).to.be.at.least(highest);
      highest = fence;
      expect(writers.get(fence) ?? writer).to.equal(writer);
      writers.set(fence, writer);
    }
    expect(writers.size).to.be.at.least(changes + 1);
    // A machine may be slow for a moment; the lease is not.
    expect(took.sort((a, b) => a - b)[Math.floor(took.length / 2)]).to.be.lessThan(2 * leaseMs);
    expect(took.at(-1)).to.be.lessThan(20 * leaseMs);
  });
});
