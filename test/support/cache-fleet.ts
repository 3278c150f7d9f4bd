import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { CacheCommand } from "./cache-worker.js";
import { forkScript } from "./fork.js";

const script = new URL("./cache-worker.ts", import.meta.url);

/** A process with a cache, which does what it is told. */
export interface CacheProcess {
  readonly child: ChildProcess;
  run(command: CacheCommand): Promise<unknown>;
  /** Ends it as a crash does. */
  kill(): Promise<void>;
}

export function startCacheProcess(): CacheProcess {
  const child = forkScript(script);
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let asked = 0;
  child.on("message", ({ id, value, error }: { id: number; value?: unknown; error?: string }) => {
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waiter?.resolve(value);
    else waiter?.reject(new Error(error));
  });
  child.on("exit", () => {
    for (const { reject } of waiting.values()) reject(new Error("the process has ended"));
    waiting.clear();
  });
  return {
    child,
    run(command) {
      asked += 1;
      const id = asked;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        child.send({ id, command });
      });
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
    },
  };
}
