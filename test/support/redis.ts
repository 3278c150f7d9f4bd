import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { cleanUp } from "./clean-up.js";

/** URL of the Redis that tests share; each worker of a parallel run has its own (set by test/setup.ts). */
export function testRedisUrl(): string {
  const urls = process.env.TEST_REDIS_URL?.split(" ") ?? [];
  const url = urls[Number(process.env.MOCHA_WORKER_ID ?? 0) % urls.length];
  if (url === undefined) throw new Error("TEST_REDIS_URL is not set: test/setup.ts has not run");
  return url;
}

/** A key prefix that no other test uses, so that tests are independent of each other and of what a Redis holds. */
export function freshPrefix(): string {
  return `test:${randomBytes(9).toString("hex")}:`;
}

interface OperatorOptions {
  readonly password?: string;
  readonly db?: number;
  readonly retryStrategy?: () => number | null;
}

/** A client beside the gate's, to look into a Redis and to work it; gone after the test. */
export function operate(url: string, options: OperatorOptions = {}): Redis {
  const client = new Redis(url, { retryStrategy: () => 50, ...options });
  client.on("error", () => undefined);
  cleanUp(() => client.disconnect());
  return client;
}
