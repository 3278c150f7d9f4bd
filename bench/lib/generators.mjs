// What makes load: wrk where it is installed, since it costs a third of a generator on Node, else the one in load.mjs.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ask, cores, startNode, startProgram } from "./processes.mjs";

export const connections = 64;
/** wrk measures whole seconds only, so that it is given more and stopped by a signal. */
const spareSeconds = 5;

/**
 * What one load was like.
 *
 * @typedef {{ seconds: number, answered: number, failed: number, p50: number, p99: number, busy: number }} Load
 *   p50 and p99 are milliseconds; `busy` is the share of the time that the generator was on a core.
 *
 * @typedef {object} Generator
 * @property {string} title
 * @property {NodeJS.ProcessEnv} serverEnv What the servers must know.
 * @property {(port: number, seconds: number, connections?: number) => { finish: () => Promise<Load> }} start Loads until `finish()`, which
 *   comes about when the seconds are over.
 * @property {() => void} close
 */

const version = readVersion();

function readVersion() {
  const { stdout, error } = spawnSync("wrk", ["-v"], { encoding: "utf8" });
  return error === undefined ? (/wrk (?:\S+\/)?(\d[\d.]*)/.exec(stdout)?.[1] ?? "") : undefined;
}

/** @returns {Generator} */
export function openGenerator(tokens) {
  return version === undefined || process.env.BENCH_LOAD === "autocannon" ? openAutocannon(tokens) : openWrk(tokens);
}

function openWrk(tokens) {
  const folder = mkdtempSync(join(tmpdir(), "portcullis-bench-"));
  const file = join(folder, "tokens");
  writeFileSync(file, tokens.join("\n"));
  const script = fileURLToPath(new URL("./load.lua", import.meta.url));
  return {
    title: `wrk ${version}`,
    serverEnv: { BENCH_ADDRESSES: String(connections) },
    start(port, seconds, own = connections) {
      const duration = `${Math.ceil(seconds) + spareSeconds}s`;
      const words = ["wrk", "-t1", `-c${own}`, `-d${duration}`, "-s", script, `http://127.0.0.1:${port}/`];
      const child = startProgram(words, { core: cores.load, env: { BENCH_TOKENS: file } });
      const startedAt = performance.now();
      let printed = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (printed += chunk));
      return {
        async finish() {
          const busy = readCpuSeconds(child.pid) / ((performance.now() - startedAt) / 1000);
          child.kill("SIGINT");
          if (child.exitCode === null) await once(child, "close");
          const line = printed.split("\n").findLast((one) => one.startsWith("{"));
          if (line === undefined) throw new Error(`wrk failed: ${printed.trim()}`);
          const { answered, refused, broken, ...rest } = JSON.parse(line);
          return { ...rest, answered, failed: refused + broken, busy };
        },
      };
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** User and system time of a process so far; not a number where there is no /proc. */
function readCpuSeconds(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return Number.NaN;
  }
}

function openAutocannon(tokens) {
  const load = startNode(fileURLToPath(new URL("../load.mjs", import.meta.url)), { core: cores.load });
  load.send({ tokens });
  return {
    title: "autocannon",
    serverEnv: {},
    start(port, seconds) {
      const running = ask(load, { port, seconds }, "result", seconds * 1000 + 15_000);
      return {
        async finish() {
          const result = await running;
          if (result.error !== undefined) throw new Error(`the load generator failed: ${result.error}`);
          return { ...result, answered: result.served + result.failed };
        },
      };
    },
    close: () => undefined,
  };
}
