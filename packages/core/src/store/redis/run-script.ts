import type { RedisLike } from "./client.js";
import { sendLong } from "./client.js";
import type { Script } from "./scripts/lua.js";

/** Runs a script by its digest. After a restart, a failover or SCRIPT FLUSH the server gets its text. */
export async function runScript(
  client: RedisLike,
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  const words = [keys.length, ...keys, ...args];
  try {
    return await client.call("EVALSHA", script.sha1, ...words);
  } catch (error) {
    // Nothing has run yet, so that the second call counts nothing twice.
    if (!isUnknown(error)) throw error;
    return client.call("EVAL", script.source, ...words);
  }
}

/**
 * Runs a script with many words.
 *
 * @param words the digest of the script, the number of keys, the keys and the arguments
 * @param reads "bytes" only for a client that can read them
 */
export async function callLongScript(
  client: RedisLike,
  script: Script,
  words: readonly string[],
  reads: "text" | "bytes",
): Promise<unknown> {
  try {
    return await sendLong(client, "evalsha", words, reads);
  } catch (error) {
    if (!isUnknown(error)) throw error;
    return sendLong(client, "eval", [script.source, ...words.slice(1)], reads);
  }
}

/** Does the server not know the script? */
export function isUnknown(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("NOSCRIPT");
}
