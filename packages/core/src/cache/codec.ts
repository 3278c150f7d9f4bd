/** The first character says how the rest is written, so that releases can read each other's values, or know not to. */
const json = "1";

/** A value as text. What JSON cannot say at all (undefined, functions, BigInt, cycles) is a TypeError. */
export function encode(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined;
  }
  if (text === undefined) throw new TypeError("a cached value must be something JSON can say");
  return json + text;
}

/** A value read back; undefined for whatever this release did not write: foreign, corrupt or of another version. */
export function decode(text: string | undefined): unknown {
  if (text?.startsWith(json) !== true) return undefined;
  try {
    return JSON.parse(text.slice(1)) as unknown;
  } catch {
    return undefined;
  }
}
