import { kindOf, optionError } from "../lib/validate.js";

/** What is neither text nor an integer, and so names nobody: 401 in a token, a TypeError in a call. */
export const unfit: unique symbol = Symbol("unfit");

/** What names a tenant, an organisation or a role: 42 is "42". */
export type Identifier = string | number;

/**
 * A value that identifies, as the text that keys have: an integer as decimal text. Undefined for null and the empty text, as
 * for undefined: some issuers write these for what they leave out. Two numbers that JSON cannot tell apart would be one, so
 * only safe integers are numbers that identify.
 */
export function identifyingText(value: unknown): string | undefined | typeof unfit {
  if (typeof value === "string") return value === "" ? undefined : value;
  if (Number.isSafeInteger(value)) return String(value);
  return value === undefined || value === null ? undefined : unfit;
}

/** What a claim, or a member of one as "org.plan", says that identifies. */
export function identifyingClaim(claims: object, name: string): string | undefined | typeof unfit {
  return identifyingText(claimAt(claims, name));
}

/**
 * Several values that identify, such as roles: one, a list of them, or the keys of an object. A key whose member is false or
 * null says that the role is not there.
 */
export function identifyingTexts(value: unknown): readonly string[] | typeof unfit {
  const texts: string[] = [];
  for (const one of partsOf(value)) {
    const text = identifyingText(one);
    if (text === unfit) return unfit;
    if (text !== undefined) texts.push(text);
  }
  return texts;
}

function partsOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value !== "object" || value === null) return [value];
  return Object.entries(value).flatMap(([key, member]) =>
    member === false || member === null || member === undefined ? [] : [key],
  );
}

/** The text of a value in a call. A TypeError for what names nobody. */
export function checkIdentifying(what: string, value: unknown): string {
  const text = identifyingText(value);
  if (typeof text === "string") return text;
  const given = value === "" ? "an empty one" : typeof value === "number" ? String(value) : kindOf(value);
  throw optionError(what, `must be a non-empty string or a safe integer, not ${given}`);
}

/** A claim by its name, or else by a path of names. Own members only, so that no prototype answers. */
export function claimAt(claims: object, path: string): unknown {
  if (Object.hasOwn(claims, path)) return (claims as Record<string, unknown>)[path];
  let value: unknown = claims;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
