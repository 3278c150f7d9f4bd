import { parse, stringify } from "devalue";

/** A codec of your own: two functions. `decode` may throw or return undefined; the entry is then a miss. */
export interface CacheCodec {
  encode(value: unknown): string;
  decode(text: string): unknown;
}

/**
 * How values become text. `"json"`: values that JSON can express. `"structured"`: also Date, Map, Set, BigInt, typed arrays,
 * undefined members, NaN, and cycles, by devalue.
 */
export type CodecChoice = "json" | "structured" | CacheCodec;

/** The letter of the JSON codec. Its values are trees, and each part of them can be frozen. */
export const jsonLetter = "j";

/** The codecs. A letter before each value names its codec, so that releases with different codecs read each other. */
export class Codecs {
  readonly letter: string;
  readonly #codecs: ReadonlyMap<string, CacheCodec>;
  readonly #encode: (value: unknown) => string;

  constructor(choice: CodecChoice) {
    const own = typeof choice === "object";
    this.letter = own ? "c" : choice === "json" ? jsonLetter : "s";
    this.#codecs = new Map([[jsonLetter, json], ["s", structured], ...(own ? [["c", choice] as const] : [])]);
    const codec = this.#codecs.get(this.letter) ?? json;
    this.#encode = (value) => codec.encode(value);
  }

  /** Throws a TypeError for a value that the codec cannot express. */
  encode(value: unknown): string {
    let text: unknown;
    try {
      text = this.#encode(value);
    } catch {
      text = undefined;
    }
    if (typeof text !== "string") {
      const allowed = {
        j: "a value that JSON can express",
        s: "data without functions",
        c: "a value that the codec can encode",
      };
      throw new TypeError(`a cached value must be ${allowed[this.letter as "j"]}`);
    }
    return text;
  }

  /** Undefined for text that the codec cannot read. */
  decode(letter: string, text: string): unknown {
    try {
      return this.#codecs.get(letter)?.decode(text);
    } catch {
      return undefined;
    }
  }
}

const json: CacheCodec = {
  encode: (value) => JSON.stringify(value),
  decode: (text) => JSON.parse(text) as unknown,
};

const structured: CacheCodec = {
  encode: (value) => stringify(value),
  decode: (text) => parse(text) as unknown,
};
