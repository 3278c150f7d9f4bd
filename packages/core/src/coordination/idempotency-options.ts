import type { DenyOptions } from "../http/verdict.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  isList,
  optionError,
  rangeError,
} from "../lib/validate.js";
import type { Facts } from "../request/facts.js";

/** Options of `gate.idempotency()`, which runs a handler once for each `Idempotency-Key`. */
export interface IdempotencyOptions<Raw = unknown> extends DenyOptions {
  /** Refuse requests without the header? Otherwise they reach the handler unprotected. @default false */
  readonly required?: boolean | undefined;
  /** Methods that are protected. Requests with another one pass untouched. @default ["POST", "PATCH"] */
  readonly methods?: readonly ("POST" | "PATCH" | "PUT" | "DELETE")[] | undefined;
  /** How long a response is kept and replayed, from a second to a year. @default "24h" */
  readonly ttl?: Duration | undefined;
  /**
   * How long a key stays claimed when its process has ended, from a second to an hour. It is extended while the handler runs.
   * @default "30s"
   */
  readonly lease?: Duration | undefined;
  /** While the first request runs: `"refuse"` answers 409; `"wait"` waits for its response. @default "refuse" */
  readonly onConflict?: "refuse" | "wait" | undefined;
  /** With `onConflict: "wait"`: how long a request waits before its 409, at most five minutes. @default "10s" */
  readonly wait?: Duration | undefined;
  /**
   * The caller, to whom keys belong: a non-empty text, or undefined for a request that is refused with 401. Without a gate that
   * verifies tokens it is required. @default the `principal` of the user; anonymous requests with a key are refused
   */
  readonly caller?: ((raw: Raw, facts: Facts) => string | undefined) | undefined;
  /**
   * The maximum size of a stored body, in bytes, up to 16 MiB. Of a larger one only the completion is stored, and a retry gets
   * 409. @default 262_144
   */
  readonly maxResponse?: number | undefined;
  /**
   * While the store does not answer: `"deny"` answers 503; `"allow"` runs the handler, which a retry may run again.
   * @default "deny"
   */
  readonly onStoreError?: "deny" | "allow" | undefined;
}

export interface ResolvedIdempotency<Raw> {
  readonly required: boolean;
  readonly methods: ReadonlySet<string>;
  readonly ttlMs: number;
  readonly leaseMs: number;
  /** 0: requests do not wait. */
  readonly waitMs: number;
  readonly caller: ((raw: Raw, facts: Facts) => string | undefined) | undefined;
  readonly maxResponse: number;
  readonly onStoreError: "deny" | "allow";
}

const known = [
  ...["required", "methods", "ttl", "lease", "onConflict", "wait", "caller", "maxResponse", "onStoreError", "onDeny"],
];

/** A larger body would take too much of the store. */
const maxBodyBytes = 16 * 2 ** 20;

/** @param verifies does the gate verify tokens? */
export function resolveIdempotency<Raw>(options: IdempotencyOptions<Raw>, verifies: boolean): ResolvedIdempotency<Raw> {
  const name = "idempotency()";
  checkObject(name, options, known);
  const { required = false, methods = ["POST", "PATCH"], ttl = "24h", lease = "30s", onConflict = "refuse" } = options;
  const { wait, caller, maxResponse = 262_144, onStoreError = "deny" } = options;
  checkBoolean(`${name}.required`, required);
  checkOneOf(`${name}.onConflict`, onConflict, ["refuse", "wait"]);
  checkOneOf(`${name}.onStoreError`, onStoreError, ["deny", "allow"]);
  checkInteger(`${name}.maxResponse`, maxResponse, 0, maxBodyBytes);
  if (wait !== undefined && onConflict !== "wait")
    throw optionError(`${name}.wait`, 'has no effect without onConflict: "wait"');
  if (caller !== undefined) checkFunction(`${name}.caller`, caller);
  else if (!verifies)
    throw optionError(
      `${name}.caller`,
      "is required without auth: a function that returns the caller to whom a key belongs, or one text for all callers",
    );
  return {
    required,
    methods: resolveMethods(`${name}.methods`, methods),
    ttlMs: atLeastSecond(`${name}.ttl`, ttl, 366 * 86_400_000),
    leaseMs: atLeastSecond(`${name}.lease`, lease, 3_600_000),
    waitMs: onConflict === "wait" ? durationMs(`${name}.wait`, wait ?? "10s", 300_000) : 0,
    caller,
    maxResponse,
    onStoreError,
  };
}

function atLeastSecond(option: string, duration: Duration, limitMs: number): number {
  const ms = durationMs(option, duration, limitMs);
  if (ms < 1000) throw rangeError(option, "must be at least a second");
  return ms;
}

function resolveMethods(option: string, methods: unknown): ReadonlySet<string> {
  if (!isList(methods) || methods.length === 0) throw optionError(option, 'must be a list such as ["POST"], not empty');
  for (const method of methods) checkOneOf(option, method, ["POST", "PATCH", "PUT", "DELETE"]);
  return new Set(methods as readonly string[]);
}
