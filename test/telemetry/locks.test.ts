import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import type { FakeGate } from "../support/fake-gate.js";
import { openGate } from "../support/fake-gate.js";
import { rejectionOf } from "../support/rejection.js";
import { until } from "../support/until.js";
import { withoutGate } from "../support/without-gate.js";

function outcomes(gate: FakeGate, metric: string): Record<string, number> {
  const samples = gate.metrics().find(({ name }) => name === metric)?.samples ?? [];
  return Object.fromEntries(samples.map(({ labels, value }): [string, number] => [labels["outcome"] ?? "", value]));
}

describe("metrics and events of locks and leaders", () => {
  it("count the outcomes, and never say a name", async () => {
    const events: unknown[] = [];
    const hear = (message: unknown): void => void events.push(message);
    for (const channel of ["portcullis:lock", "portcullis:leader"]) subscribe(channel, hear);
    try {
      const gate = openGate({});
      const lock = await gate.locks.acquire("secret name", { lease: 100, autoExtend: false });
      await gate.locks.tryAcquire("secret name");
      await rejectionOf(gate.locks.acquire("secret name", { wait: 1 }));
      await rejectionOf(gate.locks.acquire("secret name", { signal: AbortSignal.timeout(1) }));
      await until(() => lock.signal.aborted);
      const leader = gate.leader("secret name");
      leader.start();
      await until(() => leader.isLeader);
      await leader.close();
      expect(outcomes(gate, "portcullis_locks_total")).to.deep.equal({
        ...{ acquired: 1, held: 1, timeout: 1, aborted: 1, lost: 1 },
      });
      expect(outcomes(gate, "portcullis_leader_changes_total")).to.deep.equal({ elected: 1, resigned: 1 });
      expect(events.map(withoutGate)).to.deep.equal(
        ["acquired", "held", "timeout", "aborted", "lost", "elected", "resigned"].map((outcome) => ({ outcome })),
      );
      expect(JSON.stringify([gate.metrics(), lock.signal.reason])).not.to.include("secret name");
    } finally {
      for (const channel of ["portcullis:lock", "portcullis:leader"]) unsubscribe(channel, hear);
    }
  });
});
