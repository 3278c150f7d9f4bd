import type { Generation } from "./generations.js";
import { unchanged } from "./generations.js";
import { stringify, parse } from "devalue";
import { NotJson, reasonOf, stringifyJson } from "../lib/json.js";

/** The first line of an entry in the store. Times are milliseconds, by the store's clock. */
export interface EntryHead {
  /** The letter of the codec; `0` for a negative entry, which says that the value is undefined. */
  readonly letter: string;
  readonly createdAt: number;
  readonly freshMs: number;
  /** How long after that the value may be used as a stale one. */
  readonly graceMs: number;
  /** The generations of its region, joined with dots. */
  readonly generations: string;
  /** Its tags by their identifiers in keys, each with its generation. */
  readonly tags: readonly (readonly [tag: string, generation: string])[];
}

export interface StoredEntry extends EntryHead {
  readonly payload: string;
}

const formatVersion = "p2";
/** The base of times. */
const radix = 36;
const maxTimeLength = 10;
const maxGenerationsLength = 2000;
/** The length of the first line. */
export const maxHeadLength = 25_000;

/**
 * The text of an entry: `p2<letter> <created> <fresh> <grace> <generations> <tag=generation,...>`, a line feed, the value.
 * Times are in base 36. `p2` is the version: an entry of another version is a miss. Later releases may add fields to the
 * first line; this release ignores them.
 */
export function writeEntry(head: EntryHead, payload: string): string {
  const { letter, createdAt, freshMs, graceMs, generations, tags } = head;
  const times = [createdAt, freshMs, graceMs].map((ms) => Math.round(ms).toString(radix));
  const tagged = tags.map(([tag, generation]) => `${tag}=${generation}`).join(",");
  return `${formatVersion}${letter} ${times.join(" ")} ${generations} ${tagged}\n${payload}`;
}

const tagList = /^[\w.~=,-]{1,20000}$/;

/** Undefined for text that is no entry of this version. Parsed by hand: each hit in the store parses an entry. */
export function readEntry(text: string): StoredEntry | undefined {
  if (!text.startsWith(formatVersion) || text.charCodeAt(3) !== blank) return undefined;
  const end = text.indexOf("\n");
  if (end === -1 || end > maxHeadLength || digitAt(text, 2) === undefined) return undefined;
  const createdEnd = text.indexOf(" ", 4);
  const createdAt = readTime(text, 4, createdEnd);
  const freshEnd = text.indexOf(" ", createdEnd + 1);
  const freshMs = readTime(text, createdEnd + 1, freshEnd);
  const graceEnd = text.indexOf(" ", freshEnd + 1);
  const graceMs = readTime(text, freshEnd + 1, graceEnd);
  if (createdAt === undefined || freshMs === undefined || graceMs === undefined) return undefined;
  const at = graceEnd + 1;
  const generationsEnd = text.indexOf(" ", at);
  if (generationsEnd === -1 || generationsEnd > end || generationsEnd - at > maxGenerationsLength) return undefined;
  const tags = readTags(text, generationsEnd + 1, end);
  if (tags === undefined) return undefined;
  const generations = text.slice(at, generationsEnd);
  return { letter: text.charAt(2), createdAt, freshMs, graceMs, generations, tags, payload: text.slice(end + 1) };
}

const blank = 0x20;

/** The value of a digit in base 36; undefined for another character. */
function digitAt(text: string, at: number): number | undefined {
  const code = text.charCodeAt(at);
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return code >= 0x61 && code <= 0x7a ? code - 0x61 + 10 : undefined;
}

/** The number from `at` to before `end`, in base 36. */
function readTime(text: string, at: number, end: number): number | undefined {
  if (end <= at || end - at > maxTimeLength) return undefined;
  let time = 0;
  for (let index = at; index < end; index += 1) {
    const digit = digitAt(text, index);
    if (digit === undefined) return undefined;
    time = time * radix + digit;
  }
  return time;
}

/** The tags in a first line that ends at `end`; fields of later releases may follow them. */
function readTags(text: string, at: number, end: number): StoredEntry["tags"] | undefined {
  if (at === end) return noTags;
  const next = text.indexOf(" ", at);
  const tagged = text.slice(at, next === -1 || next > end ? end : next);
  if (tagged === "") return noTags;
  return tagList.test(tagged) ? tagged.split(",").map(readTag) : undefined;
}

const noTags: StoredEntry["tags"] = [];

function readTag(text: string): readonly [string, string] {
  const at = text.lastIndexOf("=");
  return [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
}

export interface CachedEntryOptions {
  readonly stored: StoredEntry;
  readonly codecs: Codecs;
  /** `true`: requests share the value, so it is frozen. */
  readonly isShared: boolean;
  /** The time when the store was asked, by a monotonic clock. */
  readonly askedAt: number;
  /** The store's clock minus the monotonic one. */
  readonly offsetMs: number;
  /** How long it may be used in process without proof that it is unchanged. */
  readonly trustMs: number;
  /** True if the store reports changes of this key. */
  readonly tracked: boolean;
  /** The generations of the region and the tags, with the versions that they had at the read. */
  readonly generations: readonly Generation[];
  readonly versions: readonly number[];
}

/** An entry in this process. Times are by a monotonic clock, except `createdAt`. */
export class CachedEntry {
  /** By the store's clock. */
  readonly createdAt: number;
  readonly monotonicCreatedAt: number;
  readonly freshUntil: number;
  readonly usableUntil: number;
  readonly trustedUntil: number;
  readonly tracked: boolean;
  /** True for an entry that says that the value is undefined. */
  readonly isNegative: boolean;
  readonly size: number;
  readonly #generations: readonly Generation[];
  readonly #versions: readonly number[];
  readonly #codecs: Codecs;
  readonly #letter: string;
  #payload: string;
  #value: unknown;
  /** True if the value is frozen and all reads share it. */
  #shared = false;
  #loaded = false;

  constructor(options: CachedEntryOptions) {
    const { stored, offsetMs, askedAt } = options;
    this.createdAt = stored.createdAt;
    this.monotonicCreatedAt = stored.createdAt - offsetMs;
    this.freshUntil = this.monotonicCreatedAt + stored.freshMs;
    this.usableUntil = this.freshUntil + stored.graceMs;
    this.trustedUntil = askedAt + options.trustMs;
    this.tracked = options.tracked;
    this.#generations = options.generations;
    this.#versions = options.versions;
    this.isNegative = stored.letter === "0";
    this.size = stored.payload.length;
    this.#codecs = options.codecs;
    this.#letter = stored.letter;
    this.#payload = stored.payload;
    this.#load(options.isShared);
  }

  /** True if a codec of this process can read it. */
  get isReadable(): boolean {
    return this.isNegative || this.#loaded;
  }

  /** The value: frozen, or a copy for this caller. Undefined for a negative entry. */
  read(): unknown {
    if (this.#shared) return this.#value;
    if (!this.#loaded) return this.#codecs.decode(this.#letter, this.#payload);
    const value = this.#value;
    this.#loaded = false;
    this.#value = undefined;
    return value;
  }

  /** True while no generation has changed since the read. */
  isCurrent(): boolean {
    return unchanged(this.#generations, this.#versions);
  }

  #load(isShared: boolean): void {
    if (this.isNegative) {
      this.#shared = true;
      return;
    }
    this.#value = this.#codecs.decode(this.#letter, this.#payload);
    this.#loaded = this.#value !== undefined;
    this.#shared = this.#loaded && isShared && freezeValue(this.#letter, this.#value);
    if (this.#shared) this.#payload = "";
  }
}

/** Freezes a value, which this codec has decoded. False for a value that cannot be frozen. */
function freezeValue(letter: string, value: unknown): boolean {
  if (letter !== jsonLetter) return freezeAll(value);
  freezeTree(value);
  return true;
}

/**
 * Freezes a value and everything in it, so that requests may share it. False if a part cannot be frozen: freezing does not
 * protect the contents of a Date, Map, Set or typed array. Without recursion, since values may be deep.
 */
function freezeAll(root: unknown): boolean {
  if (typeof root !== "object" || root === null) return true;
  const seen = new Set<object>();
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    const prototype: unknown = Object.getPrototypeOf(value);
    if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return false;
    seen.add(value);
    for (const member of Object.values(value)) open.push(member);
  }
  for (const value of seen) Object.freeze(value);
  return true;
}

/** The same for a value from JSON: a tree of plain objects and arrays. */
function freezeTree(root: unknown): void {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null) continue;
    Object.freeze(value);
    for (const member of Object.values(value)) if (typeof member === "object" && member !== null) open.push(member);
  }
}

/** A codec of your own: two functions. `decode` may throw or return undefined; the entry is then a miss. */
export interface CacheCodec {
  /** The text of a value. Throws for a value that it cannot represent. */
  encode(value: unknown): string;
  /** The value of a text. */
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

  /** @param onDropped called for a value with undefined members, which JSON leaves out */
  constructor(choice: CodecChoice, onDropped?: () => void) {
    const own = typeof choice === "object";
    this.letter = own ? "c" : choice === "json" ? jsonLetter : "s";
    const json: CacheCodec = { encode: (value) => stringifyJson(value, onDropped), decode: parseJson };
    this.#codecs = new Map([[jsonLetter, json], ["s", structured], ...(own ? [["c", choice] as const] : [])]);
    const codec = this.#codecs.get(this.letter) ?? json;
    this.#encode = (value) => codec.encode(value);
  }

  /** Throws a TypeError for a value that the codec cannot express. */
  encode(value: unknown): string {
    let text: unknown;
    let reason = "";
    try {
      text = this.#encode(value);
    } catch (error) {
      if (this.letter === jsonLetter && error instanceof NotJson) reason = reasonOf(error) + adviceFor(error);
    }
    if (typeof text === "string") return text;
    const allowed = {
      j: "a value that JSON can express",
      s: "data without functions",
      c: "a value that the codec can encode",
    };
    throw new TypeError(`a cached value must be ${allowed[this.letter as "j"]}${reason}`);
  }

  /**
   * The value that readers of an encoded value get: a copy, frozen if requests share it. The original if its own codec cannot
   * read it.
   */
  readBack(payload: string, isShared: boolean, original: unknown): unknown {
    const value = this.decode(this.letter, payload);
    if (value === undefined) return original;
    if (isShared) freezeValue(this.letter, value);
    return value;
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

function parseJson(text: string): unknown {
  return JSON.parse(text) as unknown;
}

/** Advice for a value that only the other codec can encode. */
function adviceFor({ message }: NotJson): string {
  return /^$|undefined$|function|symbol|Promise|Error|Weak|iterable/.test(message)
    ? ""
    : '; cache.codec: "structured" can encode it';
}

const structured: CacheCodec = {
  encode: (value) => stringify(value),
  decode: (text) => parse(text) as unknown,
};
