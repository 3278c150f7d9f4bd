import { checkString, kindOf, optionError, strings } from "../lib/validate.js";

/** Result for a value that is neither text nor a safe integer and identifies nobody: 401 in a token, a TypeError in a call. */
export const notIdentifying: unique symbol = Symbol("unfit");

/** The identifier of a tenant, an organisation or a role. 42 is "42". */
export type Identifier = string | number;

/**
 * The place of a claim: its name; a path of names with dots, such as `"org.plan"`; or a path as a list, for names that contain
 * dots, such as `["kubernetes.io", "namespace"]`.
 */
export type ClaimPath = string | readonly string[];

/** Separates and marks the names of a list, which has become one text. No claim has it in its name. */
const separator = "\0";

/** Checks the place of a claim in an option, and makes a text of it that {@link claimAt} reads. */
export function resolveClaimPath(option: string, path: unknown): string {
  if (!Array.isArray(path)) {
    checkString(option, path);
    return path;
  }
  const names = strings(option, path as readonly string[]);
  if (names.some((name) => name.includes(separator))) throw optionError(option, "must not contain the character NUL");
  const [name = ""] = names;
  // The same claim, so that keys and comparisons do not tell the two apart. A name with dots alone is a path as well.
  if (names.length === 1 && !name.includes(".")) return name;
  return separator + names.join(separator);
}

/** The name of a claim in a message. */
export function showClaim(path: string): string {
  return path.startsWith(separator) ? JSON.stringify(path.slice(1).split(separator)) : path;
}

/**
 * The text of an identifying value, for keys: an integer becomes decimal text. Undefined for undefined, null and the empty
 * text, which some issuers write for an absent claim. Only safe integers identify, since JSON cannot tell larger ones apart.
 */
export function identifyingText(value: unknown): string | undefined | typeof notIdentifying {
  if (typeof value === "string") return value === "" ? undefined : value;
  if (Number.isSafeInteger(value)) return String(value);
  return value === undefined || value === null ? undefined : notIdentifying;
}

/** The text of an identifying claim, or of a member of a claim, such as "org.plan". */
export function identifyingClaim(claims: object, name: string): string | undefined | typeof notIdentifying {
  return identifyingText(claimAt(claims, name));
}

/**
 * The texts of several identifying values, such as roles: one value, a list, or the keys of an object. A key whose member is
 * false or null does not count.
 */
export function identifyingTexts(value: unknown): readonly string[] | typeof notIdentifying {
  const texts: string[] = [];
  for (const one of partsOf(value)) {
    const text = identifyingText(one);
    if (text === notIdentifying) return notIdentifying;
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

/** The text of an identifying argument. Throws a TypeError for a value that identifies nobody. */
export function checkIdentifying(what: string, value: unknown): string {
  const text = identifyingText(value);
  if (typeof text === "string") return text;
  const given = value === "" ? "an empty one" : typeof value === "number" ? String(value) : kindOf(value);
  throw optionError(what, `must be a non-empty string or a safe integer, not ${given}`);
}

/**
 * Reads a claim by its name, or else by a path of names ({@link ClaimPath}). Reads own members only, never those of a prototype.
 */
export function claimAt(claims: object, path: string): unknown {
  if (Object.hasOwn(claims, path)) return (claims as Record<string, unknown>)[path];
  let value: unknown = claims;
  for (const name of path.startsWith(separator) ? path.slice(1).split(separator) : path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
