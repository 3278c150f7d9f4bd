// What the checks of all platforms share.
import { setTimeout as sleep } from "node:timers/promises";

/** The Redis that `npm run test:platforms` has started. */
export const redis = process.env.REDIS_URL ?? "redis://127.0.0.1:6379";

/** Names that no other run has used. */
export const prefix = `platforms:${process.pid}-${Date.now()}:`;

/**
 * Runs a check and prints one line about it. A failure ends the process.
 *
 * @param {string} what
 * @param {() => unknown} run
 */
export async function check(what, run) {
  try {
    await run();
    console.log(`  ok  ${what}`);
  } catch (error) {
    console.error(`  FAILED  ${what}`);
    console.error(error);
    process.exit(1);
  }
}

/** Resolves when the condition holds, and rejects after ten seconds. */
export async function until(condition) {
  for (let count = 0; count < 500; count += 1) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error("the condition did not come true");
}

/** Listens on a free port of loopback, and resolves to the URL. */
export async function listen(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${server.address().port}`;
}

export async function stop(server) {
  server.closeAllConnections?.();
  await new Promise((resolve) => server.close(resolve));
}

export function bearer(token) {
  return { authorization: `Bearer ${token}` };
}
