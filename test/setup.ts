import { inspect } from "node:util";
import { startRedis } from "@portcullis/testkit";
import { config } from "chai";
import type { RedisServer } from "@portcullis/testkit";
import { beginTest, endTest } from "./support/clean-up.js";
import { searchForSecrets, watchEvents, takeFoundSecrets } from "./support/secret-detector.js";

// Proxies find misspelt assertions, and so does the compiler. They take a twentieth of the time of all tests.
config.useProxy = false;

const servers: RedisServer[] = [];

/**
 * Runs once, in the main process, before any test: its environment reaches the workers of `--parallel`. Each has a Redis of
 * its own (`TEST_JOBS` of them), since some tests count what theirs is asked.
 */
export async function mochaGlobalSetup(): Promise<void> {
  if (process.env.TEST_REDIS_URL) return;
  // As one would run it: without persistence every gate warns. Nothing waits for the disk.
  const config = { appendonly: "yes", appendfsync: "no" };
  for (let job = 0; job < Number(process.env.TEST_JOBS ?? 1); job += 1) servers.push(await startRedis({ config }));
  process.env.TEST_REDIS_URL = servers.map(({ url }) => url).join(" ");
}

/** How long what the last test closed may take to end. */
const patienceMs = 20_000;

/** Runs once, after all tests. A handle that one of them left open would keep the run from ending: say which kind, and fail. */
export async function mochaGlobalTeardown(): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
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
let openAtStart: readonly string[] = [];

// Mocha 12 drops a rejection that nobody handles. It emits each a second time.
function noteRejection(reason: unknown, promise: Promise<unknown>): void {
  if (!rejections.has(promise)) complaints.push(`unhandled rejection ${running}: ${inspect(reason)}`);
  rejections.add(promise);
}

watchEvents();

function noteWarning(warning: Error): void {
  searchForSecrets(warning);
  // Node's own experiments differ from version to version and say nothing about this code.
  if (warning.name === "ExperimentalWarning") return;
  complaints.push(`process warning ${running}: ${warning.name}: ${warning.message}`);
}

/** What keeps the process alive and did not before the first test of the file. Workers of `--parallel` would be ended in spite of it. */
function findLeftOpen(): string[] {
  const known = [...openAtStart];
  return process.getActiveResourcesInfo().filter((kind) => {
    const index = known.indexOf(kind);
    if (index >= 0) known.splice(index, 1);
    return index < 0;
  });
}

async function untilAllIsClosed(): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (findLeftOpen().length > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10).unref());
  }
  const left = findLeftOpen();
  if (left.length > 0) complaints.push(`left open ${running}: ${left.join(", ")}`);
}

/**
 * Fails the run on an unhandled rejection, a process warning (leaked listeners, timer overflow), what is left open, or a
 * secret in a log line, an event or a metric.
 */
export const mochaHooks: Mocha.RootHookObject = {
  // Again for each file of a --parallel worker, which removes the listeners after each.
  async beforeAll(this: Mocha.Context) {
    process.off("unhandledRejection", noteRejection).on("unhandledRejection", noteRejection);
    process.off("warning", noteWarning).on("warning", noteWarning);
    await new Promise((resolve) => setImmediate(resolve));
    openAtStart = process.getActiveResourcesInfo();
  },
  beforeEach(this: Mocha.Context) {
    running = `in or after "${this.currentTest?.fullTitle() ?? ""}"`;
    beginTest();
  },
  async afterEach(this: Mocha.Context) {
    this.timeout(30_000);
    await endTest();
  },
  // At the end, since a root hook that fails earlier would keep the remaining tests from running.
  async afterAll(this: Mocha.Context) {
    this.timeout(2 * patienceMs);
    await new Promise((resolve) => setImmediate(resolve));
    await untilAllIsClosed();
    complaints.push(...takeFoundSecrets().map((text) => `a secret was said: ${text}`));
    if (complaints.length > 0) throw new Error(complaints.splice(0).join("\n"));
  },
};
