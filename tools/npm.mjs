// npm, run by tools. Only Node's own modules here: install.mjs needs it before anything is installed.
import { spawn } from "node:child_process";
import { basename } from "node:path";

/** How to start npm: the one that runs this process, if one does, else the one on the PATH. */
export function npmCommand() {
  const npm = process.env.npm_execpath;
  if (npm !== undefined && basename(npm).startsWith("npm")) return { command: process.execPath, first: [npm] };
  return { command: "npm", first: [], shell: process.platform === "win32" };
}

/** The environment without what an outer `npm run` says of its own project, and without NODE_ENV. */
export function npmEnvironment() {
  const ofProject = /^(INIT_CWD|NODE_ENV|npm_(package|lifecycle|command)|npm_config_(local_prefix|workspace))/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ofProject.test(name)));
}

/**
 * Runs npm in a directory, quietly.
 *
 * @param {readonly string[]} words
 * @param {string} cwd
 * @returns {Promise<string>} What it printed to stdout.
 * @throws {Error} with all it printed, if it fails.
 */
export async function runNpm(words, cwd) {
  const { command, first, shell } = npmCommand();
  const { stdout } = await run(command, [...first, ...words], { cwd, shell, env: npmEnvironment() });
  return stdout;
}

/**
 * Runs a program without input.
 *
 * @param {string} command
 * @param {readonly string[]} words
 * @param {import("node:child_process").SpawnOptions} options
 * @returns {Promise<{ stdout: string, stderr: string }>} What it printed.
 * @throws {Error} with all it printed, if it fails.
 */
export function run(command, words, options) {
  const child = spawn(command, words, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name].on("data", (chunk) => (printed[name] += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(printed);
      const line = [basename(command), ...words].join(" ");
      reject(new Error(`${line} ended with ${code ?? signal}\n${(printed.stdout + printed.stderr).trim()}`));
    });
  });
}
