import { documentation } from "./documentation.js";
import { replacementOf } from "./foreign-names.js";

/** The message of an option error: the problem, the correct form, and a link to the documentation. */
function explain(option: string, problem: string): string {
  return `portcullis: ${option} ${problem} (see ${documentation}#option_invalid)`;
}

/** The error for a value of the wrong type, and for a missing or an unknown option. */
export function optionError(option: string, problem: string): TypeError {
  return Object.assign(new TypeError(explain(option, problem)), { code: "option_invalid" });
}

/** The error for a value of the right type that is out of range. */
export function rangeError(option: string, problem: string): RangeError {
  return Object.assign(new RangeError(explain(option, problem)), { code: "option_invalid" });
}

/** The type of a value, for an error message. The value itself may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : typeof value;
}

/**
 * Throws for a value that is not an options object, and for an unknown name; the error shows the example, or suggests the
 * nearest known name.
 */
export function checkObject(
  option: string,
  value: unknown,
  known: readonly string[],
  example?: string,
): asserts value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const such = example === undefined ? "" : ` such as ${example}`;
    throw optionError(option, `must be an object${such}, not ${kindOf(value)}`);
  }
  for (const name of Object.keys(value)) {
    if (known.includes(name)) continue;
    throw optionError(`${option}.${name}`, `is not an option; ${adviceFor(name, known)}`);
  }
}

/** The words that replace a wrong name: an option of another library, or a misspelled name. */
function adviceFor(name: string, known: readonly string[]): string {
  const replacement = replacementOf(name, known);
  if (replacement !== undefined) return `write ${replacement}`;
  const near = nearest(name, known);
  return near === undefined ? `there are ${known.join(", ")}` : `did you mean ${near}?`;
}

export function checkString(option: string, value: unknown): asserts value is string {
  if (typeof value !== "string" || value === "") {
    throw optionError(option, `must be a non-empty string, not ${value === "" ? "an empty one" : kindOf(value)}`);
  }
}

export function checkBoolean(option: string, value: unknown): asserts value is boolean {
  if (typeof value !== "boolean") throw optionError(option, `must be true or false, not ${kindOf(value)}`);
}

export function checkFunction(option: string, value: unknown): void {
  if (typeof value !== "function") throw optionError(option, `must be a function, not ${kindOf(value)}`);
}

export function checkInteger(option: string, value: unknown, min: number, max: number): asserts value is number {
  if (typeof value !== "number") throw optionError(option, `must be a whole number, not ${kindOf(value)}`);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw rangeError(option, `must be a whole number from ${min} to ${max}, not ${value}`);
  }
}

export function checkOneOf<T extends string>(
  option: string,
  value: unknown,
  allowed: readonly T[],
  otherwise?: string,
): asserts value is T {
  if (typeof value !== "string" || !(allowed as readonly string[]).includes(value)) {
    const others = otherwise === undefined ? "" : `, or ${otherwise}`;
    throw optionError(option, `must be one of ${allowed.map((one) => `"${one}"`).join(", ")}${others}`);
  }
}

/** The list of an option that takes a non-empty string, or a non-empty list of them. */
export function strings(option: string, value: unknown): readonly string[] {
  const list: readonly unknown[] = isList(value) ? value : [value];
  if (list.length === 0) throw optionError(option, "must not be an empty list");
  for (const one of list) {
    if (typeof one !== "string" || one === "") {
      throw optionError(option, `must be a non-empty string or a list of them, not ${kindOf(one)}`);
    }
  }
  return list as readonly string[];
}

export function stringsOrNone(option: string, value: unknown): readonly string[] {
  return isList(value) && value.length === 0 ? [] : strings(option, value);
}

export function isList<T>(value: T | readonly T[] | undefined): value is readonly T[] {
  return Array.isArray(value);
}

/** Is it an https URL, or an http URL of this machine? */
export function isTrustworthyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== "" || password !== "") return false;
  return protocol === "https:" || (protocol === "http:" && ["localhost", "127.0.0.1", "[::1]"].includes(hostname));
}

/** The known name within two edits of a misspelled name. */
function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let fewest = 3;
  for (const candidate of known) {
    const edits = distance(name.toLowerCase(), candidate.toLowerCase());
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best;
}

/** Levenshtein's edit distance. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
