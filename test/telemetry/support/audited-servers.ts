import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AuditEvent } from "@portcullis/core";
import type { AnyOptions } from "../../support/app.js";
import { forkScript } from "../../support/fork.js";
import type { Call, Ending, Opening } from "./audited-server.js";

const script = new URL("./audited-server.ts", import.meta.url);

/** A server in a process of its own, with its audit trail. */
export interface AuditedServer {
  readonly url: string;
  /** Calls a method of a part of the gate, such as `call(["sessions", "revokeAll"], "alice")`. Resolves to its value, or to the code of its error. */
  call(method: Call["method"], ...given: readonly unknown[]): Promise<unknown>;
  /** Begins a call with each of these arguments at once. Resolves when all have ended. */
  callEach(method: Call["method"], calls: Call["calls"]): Promise<readonly Ending[]>;
  /** The events since the last call, without their times. */
  heard(): Omit<AuditEvent, "at">[];
  /** Kills the process by SIGKILL, and resolves when it has ended. */
  kill(): Promise<void>;
  /** The same, and removes the trail. */
  end(): Promise<void>;
}

/** Options must be plain data. Call `end()` after the tests. */
export async function startAuditedServer(adapter: string, options: AnyOptions): Promise<AuditedServer> {
  const folder = mkdtempSync(join(tmpdir(), "audit-"));
  const trail = join(folder, "trail");
  writeFileSync(trail, "");
  const child = forkScript(script);
  const exit = once(child, "exit");

  async function kill(): Promise<void> {
    child.kill("SIGKILL");
    await exit;
  }

  child.send({ adapter, options, trail } satisfies Opening);
  const [{ url }] = (await once(child, "message")) as [{ url: string }];
  const waiting = new Map<number, (endings: readonly Ending[]) => void>();
  child.on("message", ({ id, endings }: { id: number; endings: readonly Ending[] }) => waiting.get(id)?.(endings));
  let last = 0;
  let read = 0;

  function callEach(method: Call["method"], calls: Call["calls"]): Promise<readonly Ending[]> {
    const id = (last += 1);
    return new Promise((resolve) => {
      waiting.set(id, resolve);
      child.send({ id, method, calls } satisfies Call);
    });
  }

  return {
    url,
    callEach,
    async call(method, ...given) {
      const [ending] = await callEach(method, [given]);
      return ending !== undefined && "value" in ending ? ending.value : ending?.error;
    },
    heard() {
      const lines = readFileSync(trail, "utf8").split("\n").slice(0, -1);
      const fresh = lines.slice(read);
      read = lines.length;
      return fresh.map((line) => {
        const { at, ...event } = JSON.parse(line) as AuditEvent;
        if (!(at <= Date.now())) throw new Error(`an event has the time ${at}`);
        return event;
      });
    },
    kill,
    async end() {
      await kill();
      rmSync(folder, { recursive: true });
    },
  };
}
