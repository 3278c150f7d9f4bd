import { isUtf8 } from "node:buffer";
import { validateHeaderName, validateHeaderValue } from "node:http";
import type { BodyForm, Header } from "../http/verdict.js";
import { bodyForms } from "../http/verdict.js";

/** A stored response. Times are Unix milliseconds, durations are seconds. Its members are the members of the record in the store. */
export interface StoredResponse {
  readonly status: number;
  readonly fields: readonly Header[];
  readonly body: Uint8Array;
  /** The form in which the handler gave the body. */
  readonly form: BodyForm;
  /** True if the handler stated the length of the body. */
  readonly sized: boolean;
  /** Fields that were set before the handler, and that the handler removed; in lower case. */
  readonly removed: readonly string[];
  readonly storedMs: number;
  /** The same time by the clock of the store; milliseconds. */
  readonly storeMs: number;
  readonly initialAge: number;
  readonly lifetime: number;
  readonly staleWhileRevalidate: number;
  readonly staleIfError: number;
  readonly mustRevalidate: boolean;
  /** The response states that it may be shared, also if its request had credentials. */
  readonly open: boolean;
  /** The response states its lifetime. */
  readonly explicit: boolean;
  /** The request fields that `Vary` names, in lower case. */
  readonly vary: readonly string[];
  /** Its tags, each with its generation before the handler ran: a later generation means that it was purged. */
  readonly generations: readonly (readonly [tag: string, generation: string])[];
}

/** A record in the place of a response: the request fields that `Vary` names, by which one of several is selected. */
export interface VaryRecord {
  readonly vary: readonly string[];
}

/** The prefix of a record, with its version. */
const recordPrefix = "r1:";

/** The text of a record: a line of JSON, then the body, as text or in base64. */
export function encodeResponse({ body, ...known }: StoredResponse): string {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const isText = isUtf8(bytes);
  const head = JSON.stringify({ ...known, size: body.byteLength, isText });
  return `${recordPrefix}${head}\n${isText ? bytes.toString("utf8") : bytes.toString("base64")}`;
}

export function encodeVary({ vary }: VaryRecord): string {
  return `${recordPrefix}${JSON.stringify({ choice: vary })}\n`;
}

/** A record from its text; undefined for text that is foreign, corrupt, cut off, or of another version. */
export function decodeRecord(text: string | undefined): StoredResponse | VaryRecord | undefined {
  if (text?.startsWith(recordPrefix) !== true) return undefined;
  const end = text.indexOf("\n");
  if (end === -1) return undefined;
  try {
    const head = JSON.parse(text.slice(recordPrefix.length, end)) as unknown;
    if (typeof head !== "object" || head === null) return undefined;
    return "choice" in head ? readVary(head) : readResponse(head, text.slice(end + 1));
  } catch {
    return undefined;
  }
}

function readVary({ choice }: { readonly choice: unknown }): VaryRecord | undefined {
  return isNames(choice) ? { vary: choice } : undefined;
}

function readResponse(head: Partial<Record<keyof StoredResponse | "size" | "isText", unknown>>, text: string) {
  const { status, fields, storedMs, storeMs, initialAge, lifetime, staleWhileRevalidate, staleIfError, size } = head;
  const { mustRevalidate, open, explicit, isText, vary, generations, form, sized, removed } = head;
  if (![mustRevalidate, open, explicit, isText, sized].every((value) => typeof value === "boolean")) return undefined;
  const durations = [storedMs, storeMs, initialAge, lifetime, staleWhileRevalidate, staleIfError];
  if (!durations.every((value) => typeof value === "number" && Number.isFinite(value) && value >= 0)) return undefined;
  if (typeof status !== "number" || !Number.isInteger(status) || status < 200 || status > 499) return undefined;
  if (!isPairs(fields) || !isNames(vary) || !isNames(removed) || !isPairs(generations)) return undefined;
  if (!bodyForms.some((known) => known === form)) return undefined;
  // No purge could end such a response.
  if (generations.length === 0 || generations.some(([, generation]) => generation === "")) return undefined;
  for (const [name, value] of fields) {
    validateHeaderName(name);
    validateHeaderValue(name, value);
  }
  const body = Buffer.from(text, isText === true ? "utf8" : "base64");
  if (body.byteLength !== size) return undefined;
  return { ...(head as Omit<StoredResponse, "body">), body };
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function isPairs(value: unknown): value is readonly (readonly [string, string])[] {
  return Array.isArray(value) && value.every((pair) => isNames(pair) && pair.length === 2);
}
