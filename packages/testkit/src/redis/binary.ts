import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspectServer } from "./candidate.js";
import type { RedisBinary } from "./candidate.js";
import { fetchServer, inspectFetched } from "./fetch.js";
import { installServer } from "./install.js";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const CACHE = join(ROOT, "node_modules", ".cache", "portcullis-redis");
const NAMES = ["redis-server", "valkey-server"];
const FURTHER_DIRECTORIES = ["/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin", "/usr/local/bin"];

const HELP = `No redis-server 7.0 or newer was found, and none could be fetched.
The tests never skip Redis. Install one (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis)
or name a server that may be written to: TEST_REDIS_URL=redis://127.0.0.1:6379`;

let found: Promise<RedisBinary> | undefined;

/**
 * Finds a real redis-server or fetches one, once per process. In order: PATH, Homebrew, /usr/local/bin,
 * node_modules/.cache/portcullis-redis, a download by apt without root into that cache, the system's package manager.
 *
 * @throws Error with instructions and the reason of every failed step.
 */
export function findRedisServer(): Promise<RedisBinary> {
  found ??= search();
  return found;
}

async function search(): Promise<RedisBinary> {
  const failures: string[] = [];
  const steps: readonly (() => Promise<RedisBinary | undefined>)[] = [
    () => inspectInstalled(failures),
    async () => (existsSync(CACHE) ? await inspectFetched(CACHE) : undefined),
    () => fetchServer(CACHE),
    async () => {
      await installServer();
      return await inspectInstalled(failures);
    },
  ];
  for (const step of steps) {
    try {
      const binary = await step();
      if (binary !== undefined) return binary;
    } catch (error) {
      failures.push(explain(error));
    }
  }
  throw new Error([HELP, ...failures.map((failure) => `  - ${failure}`)].join("\n"));
}

async function inspectInstalled(failures: string[]): Promise<RedisBinary | undefined> {
  const directories = [...(process.env.PATH ?? "").split(delimiter).filter(Boolean), ...FURTHER_DIRECTORIES];
  const candidates = directories.flatMap((directory) => NAMES.map((name) => join(directory, name)));
  for (const candidate of new Set(candidates)) {
    if (!existsSync(candidate)) continue;
    try {
      return await inspectServer(candidate);
    } catch (error) {
      failures.push(explain(error));
    }
  }
  return undefined;
}

function explain(error: unknown): string {
  if (error instanceof AggregateError) return [error.message, ...error.errors.map(explain)].join(": ");
  const text = error instanceof Error ? error.message : String(error);
  // Of a command that failed, its own words say more than its many options.
  return text
    .replace(/^Command failed: (\S+).*\n(?=.)/, "$1: ")
    .trim()
    .replaceAll("\n", " | ");
}
