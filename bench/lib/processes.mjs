// Node processes of a run: pinned to a core, asked over IPC, ended with the run however it ends.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";

/** Cores by their role. Servers are measured, so nothing else may run where they do. */
export const cores = { server: 0, load: 1, redis: cpus().length > 2 ? 2 : 1 };

/** Without taskset, or with one core, the scheduler decides, and figures are noisier. */
export const canPin = cpus().length > 1 && spawnSync("taskset", ["-c", "0", "true"]).status === 0;

/** A bigger young generation alone makes a server look 20 % faster, so all have the same. */
const heapOptions = ["--min-semi-space-size=16", "--max-semi-space-size=16"];

const running = new Set();

/** Moves a process to a core. */
export function pin(pid, core) {
  if (canPin) spawnSync("taskset", ["-a", "-c", "-p", String(core), String(pid)]);
}

/**
 * Starts a Node program on a core, with a channel to talk to.
 *
 * @param {string} script
 * @param {{ core: number, env?: NodeJS.ProcessEnv, options?: readonly string[], node?: string }} how
 *   `node` is the path of another Node.
 */
export function startNode(script, { core, env = {}, options = [], node = process.execPath }) {
  const words = [node, ...heapOptions, ...options, script];
  const [command, ...rest] = canPin ? ["taskset", "-c", String(core), ...words] : words;
  const child = spawn(command, rest, {
    env: { ...process.env, NODE_ENV: "production", ...env },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  return own(child);
}

/** Starts any other program on a core; it ends with the run, too. */
export function startProgram(words, { core, env = {} }) {
  const [command, ...rest] = canPin ? ["taskset", "-c", String(core), ...words] : words;
  return own(spawn(command, rest, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] }));
}

function own(child) {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Sends a message, if there is one, and waits for the answer that has a member of this name. */
export function ask(child, message, member, patienceMs) {
  return new Promise((resolve, reject) => {
    const settle = (action, value) => {
      clearTimeout(timer);
      child.off("message", receive);
      child.off("exit", refuse);
      action(value);
    };
    const receive = (reply) => {
      if (member in reply) settle(resolve, reply[member]);
    };
    const refuse = () => settle(reject, new Error(`${child.spawnargs.at(-1)} ended`));
    const timer = setTimeout(
      () => settle(reject, new Error(`${child.spawnargs.at(-1)} did not answer within ${patienceMs} ms`)),
      patienceMs,
    );
    if (!running.has(child)) return refuse();
    child.on("message", receive);
    child.on("exit", refuse);
    if (message !== undefined) child.send(message);
  });
}

/** Lets a process end by itself, so that it can write its profile, and kills it if it does not. */
export async function end(child) {
  if (!running.has(child)) return;
  const ended = once(child, "exit");
  if (child.connected) child.send("end");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
  await ended;
  clearTimeout(timer);
}

export async function endAll() {
  await Promise.all([...running].map(end));
}

export function killAll() {
  for (const child of running) child.kill("SIGKILL");
}
