/** Says whose value this is and how the rest is written: what another program or release left there is told apart. */
const json = "p1:";

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
    return JSON.parse(text.slice(json.length)) as unknown;
  } catch {
    return undefined;
  }
}
