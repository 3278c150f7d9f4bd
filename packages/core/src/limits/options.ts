import type { ClaimPath } from "../auth/identifying-claim.js";
import { resolveClaimPath } from "../auth/identifying-claim.js";
import { resolveAddressList } from "./address-list.js";
import { checkBucket, maxWindowSeconds, maxCount } from "./policy.js";
import { FixedWindows } from "./verdict.js";
import type { CountOnly, Of, PartitionPart, Policy, Settle } from "./policy.js";
import { handlerWaitMs } from "../http/handler-end.js";
import { compileWideCondition } from "../http/path.js";
import type { RouteCondition } from "../http/path.js";
import type { Algorithm, BlockRule, CountingMode } from "../store/ports/decisions.js";
import type { Duration } from "../lib/duration.js";
import { durationMs, durationSeconds } from "../lib/duration.js";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  isList,
  kindOf,
  optionError,
} from "../lib/validate.js";

/** Blocks a client that goes on after refusals. */
export interface BlockOptions {
  /** Number of refusals within one window that lead to a block: a whole number from 1. */
  readonly after: number;
  /** Duration of the first block. Each further block lasts twice as long. */
  readonly for: Duration;
  /** Maximum duration of a block. A client without refusals for that long starts again with the first block. @default "1d" */
  readonly upTo?: Duration | undefined;
  /**
   * A refusal during a block begins the block again, so that a client which goes on stays blocked. With `false` a block ends
   * when it was to end. @default false
   */
  readonly extend?: boolean | undefined;
}

/** A rate-limit policy: a number of requests (or units of cost) per window and client, or of requests at once. */
export interface LimitOptions<Raw = unknown> {
  /** Name of the policy in the RateLimit fields and in Redis: 1 to 64 letters, digits, `_`, `-` and `.`. */
  readonly name: string;
  /**
   * Client to count by: the address, the signed-in user, the value of a header such as an API key, the value of a claim such
   * as a tenant, the key that a function returns, or a list of these together. `"user"` and `{ claim }` do not apply to
   * anonymous requests. A token without the claim counts by its user, or else by the address; a request without the header
   * counts by the address. `"ip"` alone counts requests with bad tokens too. Clients choose headers freely: add a policy by
   * address to a policy by header.
   */
  readonly per: PartitionPart<Raw, ClaimPath> | readonly PartitionPart<Raw, ClaimPath>[];
  /** Maximum per window: a whole number from 0 (which refuses all), or a function of the request and its facts. */
  readonly limit: number | Of<number, Raw>;
  /**
   * `"fixed-window"`: `limit` per window, which begins with the first request. `"sliding-window"`: `limit` in any window of
   * that length; a request counts for the window and at most a twentieth longer. `"token-bucket"`: `limit` per window as an
   * even flow (GCRA), and `burst` at once. `"concurrency"`: `limit` requests in flight.
   * @default "fixed-window"
   */
  readonly algorithm?: Algorithm | undefined;
  /**
   * Length of the window: whole seconds, at most 24 days, or a function. With `"concurrency"`: how long a slot is held after its
   * process died.
   * @default "1m" for `"concurrency"`, else required
   */
  readonly window?: Duration | Of<Duration, Raw> | undefined;
  /** With `"token-bucket"`: maximum at once after a quiet time; a whole number from 1, or a function. @default limit */
  readonly burst?: number | Of<number, Raw> | undefined;
  /** Units that one request counts: a whole number from 0, or a function. @default 1 */
  readonly cost?: number | Of<number, Raw> | undefined;
  /**
   * Function that returns the actual cost when the request is done. The difference to `cost` is then charged or given back,
   * within the same window. If it returns undefined, `cost` stays. @default cost
   */
  readonly settle?: Settle<Raw> | undefined;
  /**
   * Count only responses with a status of at least 400 (`"failures"`) or less (`"successes"`). Every request counts at first and
   * the others are given back at their end, so that at most `limit` are in progress. A response that broke off counts.
   * @default all
   */
  readonly countOnly?: CountOnly | undefined;
  /**
   * Maximum wait for the handler after the end of the response. A slot is released, and `settle` and `countOnly` decide, when
   * the response is over and its handler has ended, since a client that leaves early does not end the work. At most the
   * window, also if that is shorter than the default. @default "10s"
   */
  readonly releaseAfter?: Duration | undefined;
  /** Requests that the policy applies to, by path and method, as in `when()`. @default all */
  readonly when?: RouteCondition | undefined;
  /** Function that returns true for a request that passes uncounted. @default none */
  readonly skip?: Of<boolean, Raw> | undefined;
  /**
   * Addresses and networks (CIDR) that pass uncounted. Not applied to a request that a proxy forwarded (`X-Forwarded-For` and
   * the like) which the application does not trust, since the address is then that of the proxy. @default none
   */
  readonly allow?: readonly string[] | undefined;
  /** Addresses and networks (CIDR) that are refused with 403. @default none */
  readonly deny?: readonly string[] | undefined;
  /** Blocks a client that goes on after refusals. @default none */
  readonly block?: BlockOptions | undefined;
  /** Measure only: report in events, metrics and `quotas` what would be refused, and refuse nothing. @default false */
  readonly shadow?: boolean | undefined;
  /**
   * `"exact"` asks Redis at every request. `"leased"` lets a process take a part of the quota and answer from it, so that most
   * requests ask nothing. All processes together never exceed the quota; an unused part is given back within seconds. For
   * plain fixed windows. @default "exact"
   */
  readonly precision?: "exact" | "leased" | undefined;
  /**
   * Policy while the store is down: `"local"` counts in this process alone (by limit / `instances`), `"allow"` lets everything
   * pass, `"deny"` answers 503.
   * @default "local"
   */
  readonly onStoreError?: "local" | "allow" | "deny" | undefined;
}

const known = [
  ...["name", "per", "limit", "algorithm", "window", "burst", "cost", "settle", "countOnly", "when", "skip", "allow"],
  ...["deny", "block", "shadow", "precision", "onStoreError", "releaseAfter"],
];
const examplePolicy = '{ name: "ip", per: "ip", limit: 300, window: "1m" }';
/** A token of RFC 9110 5.6.2. */
const fieldName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const policyName = /^[A-Za-z0-9_.-]{1,64}$/;
const algorithmNames = ["fixed-window", "sliding-window", "token-bucket", "concurrency"] as const;

export function resolveLimits<Raw>(options: readonly LimitOptions<Raw>[]): readonly Policy<Raw>[] {
  if (!Array.isArray(options))
    throw optionError("limits", `must be a list of policies such as [${examplePolicy}], not ${kindOf(options)}`);
  const policies = (options as readonly LimitOptions<Raw>[]).map((limit, index) =>
    resolveLimit(`limits[${index}]`, limit),
  );
  const names = policies.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw optionError("limits", `has two policies named "${twice}"; names must differ`);
  return policies;
}

export function resolveLimit<Raw>(option: string, options: LimitOptions<Raw>): Policy<Raw> {
  checkObject(option, options, known, examplePolicy);
  const { name, limit, algorithm = "fixed-window", burst, cost = 1, settle, countOnly, skip } = options;
  const { shadow = false, precision = "exact", onStoreError = "local" } = options;
  if (typeof name !== "string" || !policyName.test(name)) {
    throw optionError(`${option}.name`, "must be 1 to 64 letters, digits, _, - and .");
  }
  const per = resolvePartition(`${option}.per`, options.per);
  checkOneOf(`${option}.algorithm`, algorithm, algorithmNames);
  if (typeof limit !== "function") checkInteger(`${option}.limit`, limit, 0, maxCount);
  if (typeof cost !== "function") checkInteger(`${option}.cost`, cost, 0, maxCount);
  if (burst !== undefined && typeof burst !== "function") checkInteger(`${option}.burst`, burst, 1, maxCount);
  for (const [what, value] of Object.entries({ settle, skip }))
    if (value !== undefined) checkFunction(`${option}.${what}`, value);
  if (countOnly !== undefined) checkOneOf(`${option}.countOnly`, countOnly, ["failures", "successes"]);
  checkBoolean(`${option}.shadow`, shadow);
  checkOneOf(`${option}.precision`, precision, ["exact", "leased"]);
  checkOneOf(`${option}.onStoreError`, onStoreError, ["local", "allow", "deny"]);
  checkMeaning(option, options, algorithm);
  const windowSeconds = resolveWindow(`${option}.window`, options.window, algorithm);
  const bucket = burst ?? limit;
  if (algorithm === "token-bucket" && typeof bucket === "number" && typeof windowSeconds === "number")
    checkBucket(name, bucket, windowSeconds);
  const block = options.block === undefined ? undefined : resolveBlock(`${option}.block`, options.block);
  const hasMode =
    algorithm !== "fixed-window" || shadow || block !== undefined || settle !== undefined || countOnly !== undefined;
  if (hasMode && precision === "leased")
    throw optionError(
      `${option}.precision`,
      '"leased" is for fixed windows without settle, countOnly, block and shadow',
    );
  const mode: CountingMode | undefined = hasMode ? { algorithm, shadow, block } : undefined;
  return {
    ...{ name, per, limit, algorithm, burst, windowSeconds, cost, settle, countOnly, skip, shadow, mode },
    ...{ precision, onStoreError },
    releaseAfterMs: resolveReleaseAfter(`${option}.releaseAfter`, options, windowSeconds),
    when: options.when === undefined ? undefined : compileWideCondition(`${option}.when`, options.when),
    allow: options.allow === undefined ? undefined : resolveAddressList(`${option}.allow`, options.allow),
    deny: options.deny === undefined ? undefined : resolveAddressList(`${option}.deny`, options.deny),
    windows: new FixedWindows(),
    isPlain: skip === undefined && ![...per, limit, burst, windowSeconds, cost].some((of) => typeof of === "function"),
  };
}

/** Refuses options that have no effect with this algorithm. */
function checkMeaning<Raw>(option: string, options: LimitOptions<Raw>, algorithm: Algorithm): void {
  if (algorithm !== "token-bucket" && options.burst !== undefined)
    throw optionError(`${option}.burst`, 'has an effect only with algorithm: "token-bucket"');
  if (algorithm !== "concurrency") return;
  for (const what of ["cost", "settle", "countOnly"] as const)
    if (options[what] !== undefined)
      throw optionError(
        `${option}.${what}`,
        'has no effect with algorithm: "concurrency": each request takes one slot',
      );
}

function resolvePartition<Raw>(option: string, per: LimitOptions<Raw>["per"]): readonly PartitionPart<Raw>[] {
  const parts: readonly PartitionPart<Raw, ClaimPath>[] = isList(per) ? [...per] : [per];
  if (parts.length === 0) throw optionError(option, "must not be an empty list");
  return parts.map((part, index) => resolvePart(isList(per) ? `${option}[${index}]` : option, part));
}

function resolvePart<Raw>(option: string, part: PartitionPart<Raw, ClaimPath>): PartitionPart<Raw> {
  if (part === "ip" || part === "user" || typeof part === "function") return part;
  const named = part as { header?: unknown; claim?: unknown } | null | undefined;
  if (typeof named !== "object" || named === null || Object.keys(named).length !== 1) {
    throw optionError(option, 'must be "ip", "user", { header }, { claim } or a function that returns the key');
  }
  checkObject(option, named, ["header", "claim"]);
  const [what, name] = Object.entries(named)[0] as ["header" | "claim", unknown];
  if (what === "claim") return { claim: resolveClaimPath(`${option}.claim`, name) };
  checkString(`${option}.header`, name);
  if (!fieldName.test(name))
    throw optionError(`${option}.header`, 'must be the name of a header alone, such as "X-Api-Key"');
  return { header: name.toLowerCase() };
}

function resolveWindow<Raw>(
  option: string,
  window: LimitOptions<Raw>["window"],
  algorithm: Algorithm,
): number | Of<Duration, Raw> {
  if (typeof window === "function") return window;
  if (window === undefined && algorithm === "concurrency") return 60;
  return durationSeconds(option, window, maxWindowSeconds);
}

function resolveReleaseAfter<Raw>(
  option: string,
  { algorithm, settle, countOnly, releaseAfter }: LimitOptions<Raw>,
  windowSeconds: number | Of<Duration, Raw>,
): number {
  if (releaseAfter === undefined) return handlerWaitMs;
  if (algorithm !== "concurrency" && settle === undefined && countOnly === undefined)
    throw optionError(option, 'has an effect only with algorithm: "concurrency", settle or countOnly');
  const mostSeconds = typeof windowSeconds === "number" ? windowSeconds : maxWindowSeconds;
  return durationMs(option, releaseAfter, mostSeconds * 1000);
}

function resolveBlock(option: string, options: BlockOptions): BlockRule {
  checkObject(option, options, ["after", "for", "upTo", "extend"], '{ after: 10, for: "5m" }');
  const { after, upTo = "1d", extend = false } = options;
  checkBoolean(`${option}.extend`, extend);
  checkInteger(`${option}.after`, after, 1, maxCount);
  const firstMs = durationMs(`${option}.for`, options.for, maxWindowSeconds * 1000);
  const maxMs = durationMs(`${option}.upTo`, upTo, maxWindowSeconds * 1000);
  if (maxMs < firstMs) throw optionError(`${option}.upTo`, "must not be shorter than for");
  return { after, firstMs, maxMs, extends: extend };
}
