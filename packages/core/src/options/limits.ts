import { FixedWindows } from "../quota/flexible.js";
import type { Of, Policy } from "../quota/policy.js";
import type { Duration } from "./duration.js";
import { durationSeconds } from "./duration.js";
import { checkFunction, checkInteger, checkObject, checkOneOf, kindOf, optionError } from "./validate.js";

/** One rate-limit policy: so many requests (or units of cost) per window and partition key. */
export interface LimitOptions<Raw = unknown> {
  /** Names the policy in the RateLimit fields and in Redis: 1 to 64 letters, digits, `_`, `-` and `.`. */
  readonly name: string;
  /**
   * Whom to count: the client's address, the signed-in user, or the key a function returns. `"user"` does not apply to
   * anonymous requests. `"ip"` counts requests with bad tokens too.
   */
  readonly per: "ip" | "user" | Of<string, Raw>;
  /** A whole number from 0 (which refuses all), or a function of the request and its facts. */
  readonly limit: number | Of<number, Raw>;
  /** Whole seconds, at most 24 days. */
  readonly window: Duration;
  /** What one request counts: a whole number from 0, or a function. @default 1 */
  readonly cost?: number | Of<number, Raw> | undefined;
  /** True lets a request pass uncounted. @default never */
  readonly skip?: Of<boolean, Raw> | undefined;
  /**
   * `"exact"` asks Redis at every request; `"leased"` lets a process take a part of the quota and answer from it, so that most
   * requests ask nobody. The sum over processes never exceeds the quota; what idles in one process is given back within
   * seconds. @default "exact"
   */
  readonly precision?: "exact" | "leased" | undefined;
  /**
   * While the store is down: count in this process alone (by limit / `instances`), let everything pass, or answer 503.
   * @default "local"
   */
  readonly onStoreError?: "local" | "allow" | "deny" | undefined;
}

const known = ["name", "per", "limit", "window", "cost", "skip", "precision", "onStoreError"];
const policyName = /^[A-Za-z0-9_.-]{1,64}$/;
const longestWindowSeconds = 24 * 86_400;
const most = 1_000_000_000_000;

export function resolveLimits<Raw>(options: readonly LimitOptions<Raw>[]): readonly Policy<Raw>[] {
  if (!Array.isArray(options)) throw optionError("limits", `must be a list of policies, not ${kindOf(options)}`);
  const policies = (options as readonly LimitOptions<Raw>[]).map((limit, index) =>
    resolveLimit(`limits[${index}]`, limit),
  );
  const names = policies.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw optionError("limits", `has two policies named "${twice}"; names must differ`);
  return policies;
}

export function resolveLimit<Raw>(option: string, options: LimitOptions<Raw>): Policy<Raw> {
  checkObject(option, options, known);
  const { name, per, limit, window, cost = 1, skip, precision = "exact", onStoreError = "local" } = options;
  if (typeof name !== "string" || !policyName.test(name)) {
    throw optionError(`${option}.name`, "must be 1 to 64 letters, digits, _, - and .");
  }
  if (per !== "ip" && per !== "user" && typeof per !== "function") {
    throw optionError(`${option}.per`, 'must be "ip", "user" or a function that returns the key');
  }
  if (typeof limit !== "function") checkInteger(`${option}.limit`, limit, 0, most);
  if (typeof cost !== "function") checkInteger(`${option}.cost`, cost, 0, most);
  if (skip !== undefined) checkFunction(`${option}.skip`, skip);
  checkOneOf(`${option}.precision`, precision, ["exact", "leased"]);
  checkOneOf(`${option}.onStoreError`, onStoreError, ["local", "allow", "deny"]);
  const windowSeconds = durationSeconds(`${option}.window`, window, longestWindowSeconds);
  return {
    name,
    per,
    limit,
    windowSeconds,
    cost,
    skip,
    precision,
    onStoreError,
    windows: new FixedWindows(windowSeconds),
  };
}
