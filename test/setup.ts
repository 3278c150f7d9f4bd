import { inspect } from "node:util";
import { startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";

let server: RedisServer | undefined;

/** Runs once, in the main process, before any test: its environment reaches the workers of `--parallel`. */
export async function mochaGlobalSetup(): Promise<void> {
  if (process.env.TEST_REDIS_URL) return;
  // As one would run it: without persistence every gate warns. Nothing waits for the disk.
  server = await startRedis({ config: { appendonly: "yes", appendfsync: "no" } });
  process.env.TEST_REDIS_URL = server.url;
}

/** How long what the last test closed may take to end. */
const patienceMs = 20_000;

/** Runs once, after all tests. A handle that one of them left open would keep the run from ending: say which kind, and fail. */
export async function mochaGlobalTeardown(): Promise<void> {
  await server?.stop();
  const patience = setTimeout(() => {
    console.error(`the run does not end: ${process.getActiveResourcesInfo().join(", ")}`);
    // After mocha's own listener, which says how the tests went.
    process.on("exit", () => (process.exitCode = 1));
    process.exit();
  }, patienceMs);
  patience.unref();
}

const complaints: string[] = [];
const rejections = new WeakSet<Promise<unknown>>();
let running = "before the first test";

// Mocha 12 drops a rejection that nobody handles. It emits each a second time.
function noteRejection(reason: unknown, promise: Promise<unknown>): void {
  if (!rejections.has(promise)) complaints.push(`unhandled rejection ${running}: ${inspect(reason)}`);
  rejections.add(promise);
}

function noteWarning(warning: Error): void {
  // Node's own experiments differ from version to version and say nothing about this code.
  if (warning.name === "ExperimentalWarning") return;
  complaints.push(`process warning ${running}: ${warning.name}: ${warning.message}`);
}

/** Fails the run on an unhandled rejection or a process warning (leaked listeners, timer overflow, deprecations). */
export const mochaHooks: Mocha.RootHookObject = {
  // Again for each file of a --parallel worker, which removes the listeners after each.
  beforeAll() {
    process.off("unhandledRejection", noteRejection).on("unhandledRejection", noteRejection);
    process.off("warning", noteWarning).on("warning", noteWarning);
  },
  beforeEach(this: Mocha.Context) {
    running = `in or after "${this.currentTest?.fullTitle() ?? ""}"`;
  },
  // At the end, since a root hook that fails earlier would keep the remaining tests from running.
  async afterAll() {
    await new Promise((resolve) => setImmediate(resolve));
    if (complaints.length > 0) throw new Error(complaints.splice(0).join("\n"));
  },
};
