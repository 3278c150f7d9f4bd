import { bodyFields } from "../http/interception.js";
import type { Header, Reply } from "../http/verdict.js";
import type { Handling } from "./cache-status.js";
import { cacheStatus } from "./cache-status.js";
import type { ClockReading } from "./freshness.js";
import { currentAge, secondsLeft } from "./freshness.js";
import type { StoredResponse } from "./stored-response.js";
import { notModifiedFields } from "./storing.js";
import type { Preconditions } from "./validators.js";
import { isNotModified, isPreconditionFailed } from "./validators.js";

/** The age of a stored response, in seconds. */
export function ageOf({ initialAge, storedMs, storeMs }: StoredResponse, now: ClockReading): number {
  return currentAge(initialAge, { processMs: storedMs, storeMs }, now);
}

/**
 * The answer to a request from a stored response: the response; 304 if the client has it (RFC 9111 4.3.2); or 412 if
 * a precondition fails. Without preconditions it is the response.
 */
export function answerFromStored(
  stored: StoredResponse,
  preconditions: Preconditions | undefined,
  options: {
    /** The age of the response in seconds. */
    readonly age: number;
    /** Unix milliseconds; for preconditions. */
    readonly nowMs?: number;
    readonly name: string | false;
    readonly handling: Handling;
  },
): Reply {
  const { age, nowMs = Date.now(), name, handling } = options;
  const field = (wanted: string): string | undefined => stored.fields.find(([name]) => name === wanted)?.[1];
  const validators = { etag: field("etag"), lastModified: field("last-modified") };
  if (preconditions !== undefined && stored.status < 300 && isPreconditionFailed(preconditions, validators, nowMs))
    return preconditionFailed(name, { ...handling, ttl: secondsLeft(stored, age) });
  const notModified =
    preconditions !== undefined && stored.status === 200 && isNotModified(preconditions, validators, nowMs);
  const fields: Header[] = [
    ...(notModified ? notModifiedFields(stored.fields) : stored.fields),
    ["age", String(Math.floor(age))],
    ...cacheStatusFields(name, { ...handling, ttl: secondsLeft(stored, age) }),
  ];
  const { status, body, form, removed } = stored;
  if (notModified)
    return { allowed: false, status: 304, headers: fields, removed: [...removed, ...bodyFields], body: "" };
  // As from the handler: Node frames the body by it, and compressing middleware decides by it.
  if (stored.sized && status !== 204) fields.push(["content-length", String(body.byteLength)]);
  return { allowed: false, status, headers: fields, body, form, removed };
}

/** 504: the answer to `only-if-cached` without a stored response (RFC 9111 5.2.1.7). */
export function gatewayTimeout(name: string | false): Reply {
  return {
    allowed: false,
    status: 504,
    headers: [
      ["cache-control", "no-store"],
      ["content-length", "0"],
      ...cacheStatusFields(name, { forwarded: "request" }),
    ],
    body: "",
  };
}

/** 412: the answer to a request whose precondition fails (RFC 9110 15.5.13). */
export function preconditionFailed(name: string | false, handling: Handling): Reply {
  return {
    allowed: false,
    status: 412,
    headers: [["cache-control", "no-store"], ["content-length", "0"], ...cacheStatusFields(name, handling)],
    body: "",
  };
}

/** The `Cache-Status` field, unless the cache has no name. */
export function cacheStatusFields(name: string | false, handling: Handling): Header[] {
  return name === false ? [] : [["cache-status", cacheStatus(name, handling)]];
}
