import { checkInteger, checkObject, optionError } from "./validate.js";

/** A part of a list. */
export interface Page<Item> {
  /** Items of this part, at most `limit`. */
  readonly items: readonly Item[];
  /** The cursor of the next part; undefined at the end of the list. */
  readonly next: string | undefined;
}

/** The part of a list that a call asks for. */
export interface PageOptions {
  /** Maximum number of items, 1 to 1000. @default 100 */
  readonly limit?: number | undefined;
  /** `next` of the part before, unchanged. @default the beginning of the list */
  readonly cursor?: string | undefined;
}

/** The same after the check: a cursor is opaque to callers, and its text is a list of words. */
export interface ResolvedPage {
  readonly limit: number;
  /** Undefined at the beginning. */
  readonly position: readonly string[] | undefined;
}

const maxCursorLength = 2048;

/** Checks the options of a list. `more` are the names of its other options, and `words` is the length of a position. */
export function resolvePage(
  call: string,
  options: PageOptions,
  words: number,
  more: readonly string[] = [],
): ResolvedPage {
  checkObject(call, options, ["limit", "cursor", ...more]);
  const { limit = 100, cursor } = options;
  checkInteger(`${call}.limit`, limit, 1, 1000);
  if (cursor === undefined) return { limit, position: undefined };
  const position = typeof cursor === "string" ? readCursor(cursor) : undefined;
  if (position?.length !== words)
    throw optionError(`${call}.cursor`, "must be next of the part before, unchanged, or undefined for the first part");
  return { limit, position };
}

/** Writes the position behind the last item as a cursor. */
export function writeCursor(...position: readonly string[]): string {
  return Buffer.from(JSON.stringify(position)).toString("base64url");
}

function readCursor(cursor: string): readonly string[] | undefined {
  if (cursor.length > maxCursorLength || !/^[A-Za-z0-9_-]+$/.test(cursor)) return undefined;
  try {
    const position: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    return Array.isArray(position) && position.every((word) => typeof word === "string") ? position : undefined;
  } catch {
    return undefined;
  }
}
