import { setTimeout as sleep } from "node:timers/promises";
import { createGate } from "@portcullis/core/adapter";
import { LockLostError } from "@portcullis/core";
import { Redis } from "ioredis";
import { silentLogger } from "../../support/logger.js";
import { FencedResource } from "./fenced.js";

/** What a process is told. */
export type LockOrder =
  | { readonly op: "open"; readonly url: string; readonly prefix: string }
  /** Increments the counter of the resource so often. In those of `showAt` it tells that it holds the lock, and waits. */
  | { readonly op: "increment"; readonly count: number; readonly lease: number; readonly showAt: readonly number[] }
  /** Goes on after it has told that it holds. */
  | { readonly op: "go on" }
  /** Stands for election, and writes while it leads. */
  | { readonly op: "lead"; readonly lease: number }
  | { readonly op: "close" };

/** What it tells. */
export type LockReport =
  | { readonly type: "done" }
  | { readonly type: "holding" }
  | { readonly type: "incremented"; readonly refused: number; readonly lost: number }
  | { readonly type: "elected"; readonly fence: number }
  | { readonly type: "ended"; readonly fence: number; readonly refused: number };

function tell(report: LockReport): void {
  process.send?.(report);
}

async function main(): Promise<void> {
  const [order] = (await nextOrder()) as [LockOrder];
  if (order.op !== "open") throw new Error("not open");
  const { url, prefix } = order;
  const redis = new Redis(url);
  redis.on("error", () => undefined);
  const resource = new FencedResource(redis, `${prefix}resource:`);
  const gate = createGate({ redis: url, prefix, service: "s", deadline: 2000, logger: silentLogger }, (check) => check);
  const writer = String(process.pid);
  tell({ type: "done" });

  let goOn: () => void = () => undefined;

  async function increment(count: number, lease: number, showAt: readonly number[]): Promise<void> {
    let [refused, lost, done] = [0, 0, 0];
    const shown = new Set<number>();
    while (done < count) {
      let accepted: boolean | undefined;
      try {
        await gate.locks.using("counter", { lease, wait: "2m" }, async (_signal, fence) => {
          const value = await resource.read(fence);
          if (value === undefined) return void (refused += 1);
          if (showAt.includes(done) && !shown.has(done)) {
            shown.add(done);
            tell({ type: "holding" });
            await new Promise<void>((resolve) => (goOn = resolve));
          }
          accepted = await resource.write(fence, value + 1, writer);
          if (!accepted) refused += 1;
        });
      } catch (error) {
        if (!(error instanceof LockLostError)) throw error;
        lost += 1;
      }
      if (accepted === true) done += 1;
    }
    tell({ type: "incremented", refused, lost });
  }

  function lead(lease: number): void {
    const leader = gate.leader("l", { lease });
    leader.run(async (signal, fence) => {
      tell({ type: "elected", fence });
      let refused = 0;
      while (!signal.aborted) {
        if (!(await resource.write(fence, fence, writer))) refused += 1;
        await sleep(5);
      }
      // A late write, of a leader that ignores its signal.
      if (!(await resource.write(fence, fence, writer))) refused += 1;
      tell({ type: "ended", fence, refused });
    });
  }

  process.on("message", (next: LockOrder) => {
    if (next.op === "increment") void increment(next.count, next.lease, next.showAt);
    if (next.op === "go on") goOn();
    if (next.op === "lead") lead(next.lease);
    if (next.op === "close") void close();
  });

  async function close(): Promise<void> {
    await gate.close();
    redis.disconnect();
    process.disconnect();
  }
}

async function nextOrder(): Promise<unknown[]> {
  return new Promise((resolve) => process.once("message", (...message) => resolve(message)));
}

process.on("disconnect", () => process.exit());
void main();
