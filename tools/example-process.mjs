import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { checkDevelopment, checkExample } from "./example-contract.mjs";
import { npmEnvironment } from "./npm.mjs";

const LISTENS_WITHIN_MS = 20_000;
const ENDS_WITHIN_MS = 2000;

/**
 * Starts an example, drives it through its contract, and ends it: a process of its own by SIGTERM, which must end it
 * with code 0, and a group of processes, such as npm's, by SIGINT, as a terminal does.
 *
 * @param {object} example
 * @param {string} [example.command] Default: Node.
 * @param {readonly string[]} example.words
 * @param {string} [example.cwd]
 * @param {NodeJS.ProcessEnv} example.env Names the PORT. REDIS_URL, CACHE_REDIS_URL and JWT_SECRET do not come from this process.
 * @param {boolean} [example.group]
 * @param {number} [example.patienceMs] Until it listens.
 * @param {(base: string) => Promise<void>} [example.whileRunning] A further check.
 * @param {(token: string) => Promise<void>} [example.afterLogout] A further check, given the token that was logged out.
 */
export async function driveExample(example) {
  const { command = process.execPath, words, cwd, group = false, patienceMs = LISTENS_WITHIN_MS } = example;
  const { REDIS_URL, CACHE_REDIS_URL, JWT_SECRET, HOST, ...outer } = npmEnvironment();
  const env = { ...outer, ...example.env };
  const child = spawn(command, words, { cwd, env, detached: group, stdio: ["ignore", "pipe", "pipe"] });
  const kill = (signal) => (group ? killGroup(child.pid, signal) : child.kill(signal));
  const killAtExit = () => kill("SIGKILL");
  process.on("exit", killAtExit);
  // Not "exit": in a group, the last one to end closes the pipes.
  const closed = once(child, "close");
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  try {
    const base = `http://${env.HOST ?? "127.0.0.1"}:${env.PORT}`;
    const passwords = await waitForStart(child, base, patienceMs, () => output);
    await checkExample(base, passwords, () => output, example.afterLogout);
    await checkDevelopment(base, env.NODE_ENV === "production");
    await example.whileRunning?.(base);
    const signal = group ? "SIGINT" : "SIGTERM";
    kill(signal);
    const ended = await Promise.race([closed, sleep(ENDS_WITHIN_MS, undefined, { ref: false })]);
    assert.ok(ended, `${signal} did not end it within ${ENDS_WITHIN_MS} ms`);
    if (!group) assert.deepEqual(ended, [0, null], `SIGTERM ended it with [code, signal] ${JSON.stringify(ended)}`);
  } catch (error) {
    error.message += `\n--- what it printed ---\n${output.trimEnd()}\n---`;
    throw error;
  } finally {
    kill("SIGKILL");
    await closed;
    process.off("exit", killAtExit);
  }
}

function killGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}

async function waitForStart(child, base, patienceMs, output) {
  const deadline = Date.now() + patienceMs;
  while (Date.now() < deadline && child.exitCode === null && child.signalCode === null) {
    const listening = output().split("\n").includes(`listening on ${base}`);
    const [alice, admin] = ["alice", "admin"].map((user) => passwordOf(user, output()));
    if (listening && alice !== undefined && admin !== undefined) return { alice, admin };
    await sleep(20);
  }
  throw new Error("it ended, or did not print its address and both passwords in time");
}

function passwordOf(user, output) {
  return new RegExp(`^user: ${user}  password: (\\S+)\\s*$`, "m").exec(output)?.[1];
}
