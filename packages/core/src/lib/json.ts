import { types } from "node:util";
import { optionError, rangeError } from "./validate.js";

/** Its own type does not say that it returns undefined for undefined. */
const stringify: (value: unknown, replacer: typeof refuseOthers) => string | undefined = JSON.stringify;

/** Names the part of a value that JSON cannot express. */
class NotJson extends Error {}

/**
 * The JSON text of a value (RFC 8259). Throws a TypeError for a value that would come back as another one: Map, Set, NaN,
 * Infinity, BigInt, bytes, Error, Promise, RegExp, functions, symbols, and holes in arrays. A Date becomes text; undefined members are
 * left out. Throws a RangeError if the text is longer than `maxBytes`.
 */
export function jsonText(option: string, value: unknown, maxBytes: number): string {
  let text: string | undefined;
  try {
    text = stringify(value, refuseOthers);
  } catch (error) {
    // Other errors are those of `toJSON`, of a cycle, and of a value that is too deep. Their text may quote the value.
    const reason = error instanceof NotJson ? `, not ${error.message}` : "";
    throw optionError(option, `must be a value that JSON can express${reason}`);
  }
  if (text === undefined) throw optionError(option, "must be a value that JSON can express, such as null for no data");
  if (Buffer.byteLength(text) > maxBytes) throw rangeError(option, `must have at most ${maxBytes} bytes as JSON`);
  return text;
}

/** Objects that JSON makes something else of, mostly `{}`. The checks hold for objects of another realm (`node:vm`, Jest) too. */
const unlike: readonly (readonly [is: (value: unknown) => boolean, name: string])[] = [
  [types.isMap, "a Map"],
  [types.isSet, "a Set"],
  [(value) => types.isNativeError(value) || value instanceof Error, "an Error"],
  [types.isPromise, "a Promise: await it"],
  [types.isRegExp, "a RegExp"],
  [(value) => ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value), "bytes"],
];

/** A replacer of `JSON.stringify`: it sees the value after `toJSON`, and its owner has the value before. */
function refuseOthers(this: unknown, key: string, value: unknown): unknown {
  const original = (this as Readonly<Record<string, unknown>>)[key];
  switch (typeof value) {
    case "function":
    case "symbol":
    case "bigint":
      throw new NotJson(`a ${typeof value}`);
    case "number":
      if (!Number.isFinite(value)) throw new NotJson(String(value));
      return value;
    case "undefined":
      if (Array.isArray(this)) throw new NotJson("undefined in an array");
      return value;
    default:
  }
  for (const [is, name] of unlike) if (is(original)) throw new NotJson(name);
  if (types.isDate(original) && value === null) throw new NotJson("an invalid Date");
  return value;
}
