import { types } from "node:util";
import { optionError, rangeError } from "./validate.js";

/** Its own type does not say that it returns undefined for undefined. */
const stringify: (value: unknown, replacer: typeof refuseOthers) => string | undefined = JSON.stringify;

/** A value that JSON cannot express. The message names the kind of the part that cannot be expressed; it is empty if nobody knows. */
export class NotJson extends Error {}

/** Undefined members that were left out so far. */
let dropped = 0;

/**
 * The JSON text of a value (RFC 8259). Throws {@link NotJson} for a value that would come back as another one: Map, Set, NaN,
 * Infinity, BigInt, bytes, Error, Promise, RegExp, functions, symbols, iterables, and holes in arrays. A Date becomes text;
 * undefined members are left out, and then `onDropped` is called.
 */
export function stringifyJson(value: unknown, onDropped?: () => void): string {
  const before = dropped;
  let text: string | undefined;
  try {
    text = stringify(value, refuseOthers);
  } catch (error) {
    // Other errors are those of `toJSON`, of a cycle, and of a value that is too deep. Their text may quote the value.
    throw error instanceof NotJson ? error : new NotJson();
  }
  if (text === undefined) throw new NotJson("undefined");
  if (dropped > before) onDropped?.();
  return text;
}

/** The same for an option or an argument: a TypeError, and a RangeError if the text is longer than `maxBytes`. */
export function jsonText(option: string, value: unknown, maxBytes: number, onDropped?: () => void): string {
  let text: string;
  try {
    text = stringifyJson(value, onDropped);
  } catch (error) {
    throw optionError(option, `must be a value that JSON can express${reasonOf(error as NotJson)}`);
  }
  if (Buffer.byteLength(text) > maxBytes) throw rangeError(option, `must have at most ${maxBytes} bytes as JSON`);
  return text;
}

/** The end of a sentence that says what must be expressed. */
export function reasonOf({ message }: NotJson): string {
  if (message === "undefined") return ", such as null for no data";
  return message === "" ? "" : `, not ${message}`;
}

/** Objects that JSON makes something else of, mostly `{}`. The checks hold for objects of another realm (`node:vm`, Jest) too. */
const unlike: readonly (readonly [is: (value: unknown) => boolean, name: string])[] = [
  [types.isMap, "a Map"],
  [types.isSet, "a Set"],
  [(value) => types.isNativeError(value) || value instanceof Error, "an Error"],
  [types.isPromise, "a Promise: await it"],
  [types.isRegExp, "a RegExp"],
  [(value) => ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value), "bytes"],
  [(value) => types.isNumberObject(value) && !Number.isFinite(Number(value)), "NaN"],
  [types.isSymbolObject, "a symbol"],
  [(value) => types.isWeakMap(value) || types.isWeakSet(value), "a WeakMap or WeakSet"],
  [isHiddenList, "an iterable that is not an array"],
];

/** An iterator, URLSearchParams, Headers: JSON sees no member of it. An object with `toJSON` says itself what it is. */
function isHiddenList(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value) || types.isStringObject(value)) return false;
  const { toJSON, [Symbol.iterator]: iterate } = value as { toJSON?: unknown; [Symbol.iterator]?: unknown };
  return typeof iterate === "function" && typeof toJSON !== "function" && Object.keys(value).length === 0;
}

/** A replacer of `JSON.stringify`: it sees the value after `toJSON`, and its owner has the value before. */
function refuseOthers(this: unknown, key: string, value: unknown): unknown {
  const original = (this as Readonly<Record<string, unknown>>)[key];
  switch (typeof value) {
    case "string":
    case "boolean":
      if (original === value) return value;
      break;
    case "function":
    case "symbol":
    case "bigint":
      throw new NotJson(`a ${typeof value}`);
    case "number":
      if (!Number.isFinite(value)) throw new NotJson(String(value));
      break;
    case "undefined":
      if (Array.isArray(this)) throw new NotJson("undefined in an array");
      dropped += 1;
      return value;
    default:
      if (original === value && (value === null || isPlain(value as object))) return value;
  }
  if (typeof original === "bigint") throw new NotJson("a bigint");
  for (const [is, name] of unlike) if (is(original) || is(value)) throw new NotJson(name);
  // What toJSON returns is not asked for another toJSON.
  if (types.isDate(value)) throw new NotJson("a Date that toJSON returned");
  if (types.isDate(original) && value === null) throw new NotJson("an invalid Date");
  return value;
}

/** Most values, so that they are checked first. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === Array.prototype;
}
