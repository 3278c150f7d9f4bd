import { spawn } from "node:child_process";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

/** The repository's root directory. */
export const ROOT = fileURLToPath(new URL("../", import.meta.url));

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * Runs a Node program with the terminal inherited, from the repository's root, and returns its exit code (128 + number
 * for a signal). Signals that arrive here are passed on.
 *
 * @param {readonly string[]} words The script and its arguments.
 * @param {{ env?: NodeJS.ProcessEnv, forward?: (signal: NodeJS.Signals) => NodeJS.Signals, node?: string, limitMs?: number }} [options]
 *   `forward` names the signal to send for one that arrived. Default: the same. `node` is the path of another Node.
 *   `limitMs` ends a program that does not end by itself, and every process that it started.
 * @returns {Promise<number>}
 */
export function runNode(words, options = {}) {
  const { env = process.env, forward = (signal) => signal, node = process.execPath, limitMs } = options;
  // In a process group of its own, so that its children can be ended with it: one that lives on keeps a pipe open for ever.
  const child = spawn(node, words, { cwd: ROOT, env, stdio: "inherit", detached: limitMs !== undefined });
  const pass = (signal) => child.kill(forward(signal));
  for (const signal of SIGNALS) process.on(signal, pass);
  const limit = limitMs === undefined ? undefined : setTimeout(() => endGroup(child.pid, limitMs), limitMs);
  const watch = watchNpm(() => pass("SIGTERM"));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      for (const name of SIGNALS) process.off(name, pass);
      clearInterval(watch);
      clearTimeout(limit);
      resolve(code ?? exitCodeOf(signal));
    });
  });
}

function endGroup(pid, limitMs) {
  console.error(`ended after ${limitMs / 60_000} minutes: something keeps the run from ending`);
  process.kill(-pid, "SIGKILL");
}

/** What a shell reports for a process that ended by a signal. */
export function exitCodeOf(signal) {
  return 128 + constants.signals[signal];
}

// npm passes SIGTERM on to the shell between it and this process, and the shell dies of it without telling anyone.
function watchNpm(onOrphaned) {
  if (process.env.npm_lifecycle_event === undefined) return undefined;
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    onOrphaned();
  }, 250);
  return watch;
}
