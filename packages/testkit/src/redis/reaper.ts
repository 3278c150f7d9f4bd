import { spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";

interface Leftover {
  readonly directory: string;
  readonly child: () => ChildProcess | undefined;
}

const DEATH_SIGNAL = ["--pdeathsig", "KILL", "--"];

const leftovers = new Set<Leftover>();
let listening = false;
let supported: boolean | undefined;

/** Kills the child and removes its directory when this process exits. Returns a function that forgets them. */
export function reapAtExit(directory: string, child: () => ChildProcess | undefined): () => void {
  listen();
  const leftover = { directory, child };
  leftovers.add(leftover);
  return () => void leftovers.delete(leftover);
}

/**
 * Turns a command into one that the kernel kills when this process dies in a way that runs no listener (SIGKILL).
 * Without setpriv of util-linux, the command itself.
 */
export function dieWithParent(command: readonly [string, ...string[]]): readonly [string, ...string[]] {
  supported ??= spawnSync("setpriv", [...DEATH_SIGNAL, "true"]).status === 0;
  return supported ? ["setpriv", ...DEATH_SIGNAL, ...command] : command;
}

// One listener for all servers: one each would trip Node's warning about leaking listeners.
function listen(): void {
  if (listening) return;
  listening = true;
  process.on("exit", reapAll);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, reapOnSignal);
}

/** A signal that nobody else handles ends the process without an "exit" event. */
function reapOnSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 0) return;
  reapAll();
  process.kill(process.pid, signal);
}

function reapAll(): void {
  for (const { directory, child } of leftovers) {
    child()?.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}
