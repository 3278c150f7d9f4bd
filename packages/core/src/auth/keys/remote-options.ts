import type { RemoteKeysPolicy } from "./remote-keys.js";
import type { Duration } from "../../lib/duration.js";
import { durationMs } from "../../lib/duration.js";
import { checkBoolean, checkObject, rangeError } from "../../lib/validate.js";

/** How keys are fetched from an issuer, and how long they serve while it is away. */
export interface RemoteKeysSettings {
  /** Age at which keys are fetched anew, in the background. @default "10m" */
  readonly refresh?: Duration | undefined;
  /** How long keys serve while newer ones cannot be fetched. @default "24h" */
  readonly maxStale?: Duration | undefined;
  /** Between two fetches because of an unknown `kid`, and after a failed one, whatever came of them. @default "30s" */
  readonly cooldown?: Duration | undefined;
  /** For one attempt, metadata and key set together. @default "5s" */
  readonly timeout?: Duration | undefined;
  /**
   * May the issuer be in a private network? Where a function accepts issuers, may they be on this machine? (An issuer that
   * the options name may be on localhost anyway.) @default false
   */
  readonly allowPrivateAddresses?: boolean | undefined;
}

const dayMs = 86_400_000;

export function resolveRemoteKeysPolicy(option: string, settings: RemoteKeysSettings): RemoteKeysPolicy {
  checkObject(option, settings, ["refresh", "maxStale", "cooldown", "timeout", "allowPrivateAddresses"]);
  const {
    refresh = "10m",
    maxStale = "24h",
    cooldown = "30s",
    timeout = "5s",
    allowPrivateAddresses = false,
  } = settings;
  checkBoolean(`${option}.allowPrivateAddresses`, allowPrivateAddresses);
  const policy = {
    refreshMs: durationMs(`${option}.refresh`, refresh, dayMs),
    maxStaleMs: durationMs(`${option}.maxStale`, maxStale, 30 * dayMs),
    cooldownMs: durationMs(`${option}.cooldown`, cooldown, dayMs),
    timeoutMs: durationMs(`${option}.timeout`, timeout, 60_000),
    allowPrivateAddresses,
  };
  if (policy.maxStaleMs <= policy.refreshMs)
    throw rangeError(
      `${option}.maxStale`,
      "must be longer than refresh, or keys would be given up before they are renewed",
    );
  return policy;
}
