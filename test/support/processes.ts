import { once } from "node:events";
import type { AnyOptions } from "./app.js";
import { cleanUpInTest } from "./clean-up.js";
import { forkScript } from "./fork.js";

const script = new URL("./server.ts", import.meta.url);

export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
  /** Lets `GET /held` be answered. */
  release(): void;
  /** Closes the gate and resolves to how the process ended, and after how many milliseconds. */
  close(): Promise<{ code: number | null; ms: number }>;
}

/** Starts a test application in a process of its own, whose clock may differ. Options must be plain data. */
export async function startProcess(
  adapter: string,
  options: Partial<AnyOptions>,
  clockAheadMs = 0,
): Promise<ServerProcess> {
  const clock = `const now = Date.now; Date.now = () => now() + ${clockAheadMs};`;
  const child = forkScript(script, [`--import=data:text/javascript,${encodeURI(clock)}`]);
  cleanUpInTest(() => child.kill("SIGKILL"));
  const exit = once(child, "exit") as Promise<[number | null]>;
  child.send({ adapter, options });
  const [{ url }] = (await once(child, "message")) as [{ url: string }];
  return {
    url,
    pid: child.pid ?? 0,
    release: () => void child.send("release"),
    async close() {
      const start = performance.now();
      if (child.exitCode === null) child.send("close");
      const timer = setTimeout(() => child.kill("SIGKILL"), 8000);
      const [code] = await exit;
      clearTimeout(timer);
      return { code, ms: performance.now() - start };
    },
  };
}
