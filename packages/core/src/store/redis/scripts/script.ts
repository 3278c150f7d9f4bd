import { createHash } from "node:crypto";
import type { RedisLike } from "../client.js";

/** A Lua script with its SHA-1 digest, by which Redis finds it. */
export interface Script {
  readonly source: string;
  readonly sha1: string;
}

export function defineScript(source: string): Script {
  return { source, sha1: createHash("sha1").update(source).digest("hex") };
}

/** Runs a script by its digest. After a restart, a failover or SCRIPT FLUSH the server gets its text. */
export async function runScript(
  client: RedisLike,
  { sha1, source }: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await client.call("EVALSHA", sha1, keys.length, ...keys, ...args);
  } catch (error) {
    // Nothing has run yet, so that the second call counts nothing twice.
    if (!(error instanceof Error && error.message.startsWith("NOSCRIPT"))) throw error;
    return client.call("EVAL", source, keys.length, ...keys, ...args);
  }
}
