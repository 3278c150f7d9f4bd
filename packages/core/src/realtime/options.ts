import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import { checkInteger, checkObject } from "../lib/validate.js";

/** Options of open connections. */
export interface ConnectionsOptions {
  /** Maximum number of open connections of one user at this process. @default 20 */
  readonly maxPerUser?: number | undefined;
  /** Maximum number of open connections at this process. @default 10_000 */
  readonly maxPerProcess?: number | undefined;
  /**
   * How often the store is asked about the tokens of all open connections: 50 ms to 10 s. A connection whose token was revoked
   * is closed within this time and one round trip, even if no message tells of the revocation.
   * @default "500ms"
   */
  readonly checkEvery?: Duration | undefined;
}

/** The options after they were checked. */
export interface ResolvedConnections {
  readonly maxPerUser: number;
  readonly maxPerProcess: number;
  readonly checkEveryMs: number;
}

const maxConnections = 1_000_000;

export function resolveConnections(options: ConnectionsOptions): ResolvedConnections {
  checkObject("connections", options, ["maxPerUser", "maxPerProcess", "checkEvery"]);
  const { maxPerUser = 20, maxPerProcess = 10_000, checkEvery = "500ms" } = options;
  checkInteger("connections.maxPerUser", maxPerUser, 1, maxConnections);
  checkInteger("connections.maxPerProcess", maxPerProcess, 1, maxConnections);
  const checkEveryMs = durationMs("connections.checkEvery", checkEvery, 10_000);
  checkInteger("connections.checkEvery (in ms)", checkEveryMs, 50, 10_000);
  return { maxPerUser, maxPerProcess, checkEveryMs };
}
