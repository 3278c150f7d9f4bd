import type { Algorithm } from "../store/ports/decisions.js";
import type { Exchange } from "./exchange.js";
import type { Header } from "./verdict.js";

/**
 * The format of the rate-limit response fields: draft-ietf-httpapi-ratelimit-headers in drafts 8 to 11, 7 or 6, the older
 * `X-RateLimit-*` fields (`"legacy"`), or `false` for no fields.
 */
export type RateLimitFormat = "draft-8" | "draft-7" | "draft-6" | "legacy" | false;

export const rateLimitFormats = ["draft-8", "draft-7", "draft-6", "legacy"] as const;

/** The state of one policy in the fields. */
export interface RateLimitItem {
  readonly policy: string;
  readonly limit: number;
  readonly windowSeconds: number;
  readonly remaining: number;
  readonly resetSeconds: number;
  /** `concurrency` counts requests at once, which has no window. @default "fixed-window" */
  readonly algorithm?: Algorithm;
}

/** Rate-limit fields of one response, in the order the policies apply. */
export function rateLimitFields(format: RateLimitFormat, items: readonly RateLimitItem[], nowMs: number): Header[] {
  if (format === false || items.length === 0) return [];
  if (format === "draft-8") return structuredFields(items);
  const windows = items.filter(isWindow);
  // The older formats have only requests per window.
  if (windows.length === 0) return [];
  const { limit, remaining, resetSeconds, windowSeconds } = tightest(windows);
  const policy: Header = ["RateLimit-Policy", `${limit};w=${windowSeconds}`];
  switch (format) {
    case "draft-7":
      return [policy, ["RateLimit", `limit=${limit}, remaining=${remaining}, reset=${resetSeconds}`]];
    case "draft-6":
      return [policy, ...threeFields("RateLimit", limit, remaining, resetSeconds)];
    case "legacy":
      return threeFields("X-RateLimit", limit, remaining, Math.ceil(nowMs / 1000) + resetSeconds);
  }
}

/** Lists of String items with parameters (RFC 9651); policy names are checked at start-up, so nothing needs escaping. */
function structuredFields(items: readonly RateLimitItem[]): Header[] {
  const { field, starts } = policyTexts(items);
  let states = "";
  for (let index = 0; index < items.length; index += 1) {
    const item = items[index] as RateLimitItem;
    const { remaining, resetSeconds } = item;
    states += `${starts[index]}${remaining}`;
    if (resetSeconds !== 0 || isWindow(item)) states += `;t=${resetSeconds}`;
  }
  return [field, ["RateLimit", states]];
}

/** The texts that depend on policies alone. */
interface PolicyTexts {
  readonly items: readonly RateLimitItem[];
  readonly field: Header;
  /** The start of the state of each policy. */
  readonly starts: readonly string[];
}

/** The texts of the last request: most requests have the same policies as the request before. */
let lastPolicies: PolicyTexts | undefined;

function policyTexts(items: readonly RateLimitItem[]): PolicyTexts {
  if (lastPolicies !== undefined && haveSamePolicies(lastPolicies.items, items)) return lastPolicies;
  const texts = items.map((item) => {
    const terms = isWindow(item) ? `w=${item.windowSeconds}` : 'qu="concurrent-requests"';
    return `"${item.policy}";q=${item.limit};${terms}`;
  });
  const field: Header = ["RateLimit-Policy", texts.join(", ")];
  // Copies: the application may change its objects.
  lastPolicies = {
    items: items.map((item) => ({ ...item })),
    field,
    starts: items.map(({ policy }, index) => `${index === 0 ? "" : ", "}"${policy}";r=`),
  };
  return lastPolicies;
}

function haveSamePolicies(some: readonly RateLimitItem[], others: readonly RateLimitItem[]): boolean {
  if (some.length !== others.length) return false;
  for (let index = 0; index < some.length; index += 1) {
    const one = some[index];
    const other = others[index];
    if (
      one?.policy !== other?.policy ||
      one?.limit !== other?.limit ||
      one?.windowSeconds !== other?.windowSeconds ||
      one?.algorithm !== other?.algorithm
    )
      return false;
  }
  return true;
}

function isWindow({ algorithm }: RateLimitItem): boolean {
  return algorithm !== "concurrency";
}

function threeFields(prefix: string, limit: number, remaining: number, reset: number): Header[] {
  return [
    [`${prefix}-Limit`, String(limit)],
    [`${prefix}-Remaining`, String(remaining)],
    [`${prefix}-Reset`, String(reset)],
  ];
}

/** The policy that will refuse first: the older formats have room for one. */
function tightest(items: readonly RateLimitItem[]): RateLimitItem {
  return items.reduce((least, item) =>
    item.remaining < least.remaining || (item.remaining === least.remaining && item.resetSeconds > least.resetSeconds)
      ? item
      : least,
  );
}

/** `Retry-After` in whole seconds, at least 1 (RFC 9110 10.2.3). */
export function retryAfter(seconds: number): Header {
  return ["Retry-After", String(Math.max(1, Math.ceil(seconds)))];
}

/** One challenge (RFC 9110 11.3): parameters are fixed or checked at start-up, so nothing needs escaping. */
export function authenticateChallenge(scheme: string, parameters: Readonly<Record<string, string>> = {}): string {
  const text = Object.entries(parameters)
    .map(([name, value]) => `${name}="${value}"`)
    .join(", ");
  return text === "" ? scheme : `${scheme} ${text}`;
}

/** Text that a quoted parameter of a challenge may contain (RFC 6750 3: %x20-21 / %x23-5B / %x5D-7E). */
export const challengeText: RegExp = /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/;

/**
 * The values of a request field that is on several lines; undefined if it is on one line at most, or if the framework does not
 * show the lines. Node keeps only the first line of some fields in `headers`, such as Authorization.
 */
export function repeatedLines(
  { rawHeaders }: Pick<Exchange, "rawHeaders">,
  lowerCaseName: string,
): readonly string[] | undefined {
  if (rawHeaders === undefined || !mayRepeat(rawHeaders, lowerCaseName)) return undefined;
  const lines = rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === lowerCaseName);
  return lines.length > 1 ? lines : undefined;
}

/** A quick test for every request with a token: it compares length and first letter instead of whole names. */
function mayRepeat(rawHeaders: readonly string[], lowerCaseName: string): boolean {
  const { length } = lowerCaseName;
  const firstLetter = lowerCaseName.charCodeAt(0);
  let alike = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at];
    if (name?.length === length && (name.charCodeAt(0) | 32) === firstLetter) alike += 1;
  }
  return alike > 1;
}

/** Do the lines of a field differ? Then another server may use another line than this process does. */
export function isContradictory(exchange: Pick<Exchange, "rawHeaders">, lowerCaseName: string): boolean {
  const [first, ...others] = repeatedLines(exchange, lowerCaseName) ?? [];
  return others.some((line) => line.trim() !== first?.trim());
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const fixdate = /^[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/i;

const rfc850 = /^[A-Z][a-z]{5,8}, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/i;

const asctime = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/i;

/** An HTTP date in any of its three forms (RFC 9110 5.6.7) in Unix milliseconds; undefined for anything else. */
export function readDate(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const [, day, month, year, hour, minute, second] = fixdate.exec(text) ?? rfc850.exec(text) ?? [];
  if (day !== undefined) return assemble(fullYear(year ?? "", nowMs), month, day, hour, minute, second);
  const [, month3, day3, hour3, minute3, second3, year3] = asctime.exec(text) ?? [];
  return month3 === undefined ? undefined : assemble(Number(year3), month3, day3, hour3, minute3, second3);
}

/** A year of two digits that is more than 50 years in the future is in the last century (RFC 9110 5.6.7). */
function fullYear(year: string, nowMs: number): number {
  if (year.length === 4) return Number(year);
  const thisYear = new Date(nowMs).getUTCFullYear();
  const inThisCentury = thisYear - (thisYear % 100) + Number(year);
  return inThisCentury > thisYear + 50 ? inThisCentury - 100 : inThisCentury;
}

function assemble(year: number, month: string | undefined, ...rest: (string | undefined)[]): number | undefined {
  const monthIndex = months.findIndex((name) => name.toLowerCase() === month?.toLowerCase());
  const [day = 0, hour = 0, minute = 0, second = 0] = rest.map(Number);
  // Second 60 is a leap second.
  if (monthIndex === -1 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) return undefined;
  return Date.UTC(year, monthIndex, day, hour, minute, second);
}
