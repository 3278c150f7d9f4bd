import { randomBytes } from "node:crypto";

/** URL of the Redis that the whole run shares (set by test/setup.ts). */
export function testRedisUrl(): string {
  const url = process.env.TEST_REDIS_URL;
  if (url === undefined) throw new Error("TEST_REDIS_URL is not set: test/setup.ts has not run");
  return url;
}

/** A key prefix that no other test uses, so that tests are independent of each other and of what a Redis holds. */
export function freshPrefix(): string {
  return `test:${randomBytes(9).toString("hex")}:`;
}
