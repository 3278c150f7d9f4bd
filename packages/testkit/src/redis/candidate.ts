import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** A redis-server that runs on this machine: the executable and the environment to start it with. */
export interface RedisBinary {
  readonly server: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Client tracking, sharded pub/sub and the script flags that the tests use came with Redis 7.0. */
const FLOOR = 7;

const execute = promisify(execFile);

/**
 * Runs `<server> --version` and returns the binary if it is Redis (or Valkey) 7.0 or newer.
 *
 * @throws Error saying why the executable cannot be used.
 */
export async function inspectServer(server: string, env: NodeJS.ProcessEnv = process.env): Promise<RedisBinary> {
  const { stdout } = await execute(server, ["--version"], { env, timeout: 10_000 });
  const version = /\bv=(\d+)(?:\.\d+)*/.exec(stdout);
  if (version === null) throw new Error(`${server} is no Redis: ${stdout.trim()}`);
  if (Number(version[1]) < FLOOR) throw new Error(`${server} is ${version[0].slice(2)}, older than ${FLOOR}.0`);
  return { server, env };
}
