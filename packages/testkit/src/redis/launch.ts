import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RedisBinary } from "./candidate.js";
import { answersPing } from "./ping.js";
import { dieWithParent } from "./reaper.js";

const READY_WITHIN_MS = 15_000;
const LOG = "redis.log";

/** Starts a server from `<directory>/redis.conf`. The child never holds the event loop open. */
export function launch(binary: RedisBinary, directory: string, flags: readonly string[] = []): ChildProcess {
  const [command, ...words] = dieWithParent([binary.server, join(directory, "redis.conf"), ...flags]);
  const log = openSync(join(directory, LOG), "w");
  const child = spawn(command, words, { cwd: directory, env: binary.env, stdio: ["ignore", log, log] });
  closeSync(log);
  child.unref();
  return child;
}

/**
 * Waits until the server answers PING.
 *
 * @throws Error with the end of the server's log if it exits or does not answer in time.
 */
export async function waitUntilReady(child: ChildProcess, directory: string, port: number): Promise<void> {
  await once(child, "spawn");
  const deadline = Date.now() + READY_WITHIN_MS;
  while (isRunning(child) && Date.now() < deadline) {
    if (await answersPing(port, child.pid ?? 0)) return;
    await sleep(5);
  }
  await end(child, "SIGKILL");
  const tail = (await readFile(join(directory, LOG), "utf8")).trim().split("\n").slice(-8);
  throw new Error(`redis-server did not start on port ${port}:\n${tail.join("\n")}`);
}

/** Whether the child has been started and has not exited. */
export function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** Sends a signal and waits for the exit; after `patienceMs` the child is killed. Works on a stopped process. */
export async function end(child: ChildProcess, signal: "SIGTERM" | "SIGKILL", patienceMs = 2000): Promise<void> {
  if (!isRunning(child)) return;
  child.ref();
  const exited = once(child, "exit");
  child.kill(signal);
  child.kill("SIGCONT");
  const killer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  await exited;
  clearTimeout(killer);
}
