import type { RedisLike } from "./client.js";
import type { Script } from "./scripts/lua.js";

/** Runs a script by its digest. After a restart, a failover or SCRIPT FLUSH the server gets its text. */
export async function runScript(
  client: RedisLike,
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  return callScript(client, script, [keys.length, ...keys, ...args]);
}

/** The same, with the number of keys, the keys and the arguments in one list. */
export async function callScript(
  client: RedisLike,
  { sha1, source }: Script,
  words: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await client.call("EVALSHA", sha1, ...words);
  } catch (error) {
    // Nothing has run yet, so that the second call counts nothing twice.
    if (!isUnknown(error)) throw error;
    return client.call("EVAL", source, ...words);
  }
}

/** Can the client read bytes? Not its `callBuffer`, which loses the name of the command with `enableAutoPipelining`. */
export function readsBytes(client: RedisLike): client is RedisLike & Required<Pick<RedisLike, BytesMethod>> {
  return client.evalshaBuffer !== undefined && client.evalBuffer !== undefined;
}

type BytesMethod = "evalshaBuffer" | "evalBuffer";

/** The same as {@link callScript}, but what would be text in the reply is bytes, if the client can read them. */
export async function callScriptForBytes(
  client: RedisLike,
  script: Script,
  words: readonly (string | number)[],
): Promise<unknown> {
  if (!readsBytes(client)) return callScript(client, script, words);
  try {
    return await client.evalshaBuffer(script.sha1, ...words);
  } catch (error) {
    if (!isUnknown(error)) throw error;
    return client.evalBuffer(script.source, ...words);
  }
}

/** Does the server not know the script? */
export function isUnknown(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("NOSCRIPT");
}
