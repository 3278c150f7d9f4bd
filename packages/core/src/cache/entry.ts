import type { Codecs } from "./codec.js";
import { jsonLetter } from "./codec.js";
import type { Generation } from "./generations.js";
import { unchanged } from "./generations.js";

/** What stands before a value in the store. Times in milliseconds, by the store's clock. */
export interface EntryHead {
  /** Of the codec that wrote the value; `0` if the answer is that there is nothing. */
  readonly letter: string;
  readonly createdAt: number;
  readonly freshMs: number;
  /** How long after that it may be used if nothing better is to be had. */
  readonly graceMs: number;
  /** The generations of its view, joined. */
  readonly generations: string;
  /** Its tags as in keys, each with its generation. */
  readonly tags: readonly (readonly [tag: string, generation: string])[];
}

export interface StoredEntry extends EntryHead {
  readonly payload: string;
}

const formatVersion = "p2";
/** Of times. */
const radix = 36;
const maxTimeLength = 10;
const maxGenerationsLength = 2000;
/** All of the first line. */
export const maxHeadLength = 25_000;

/**
 * `p2<letter> <created> <fresh> <grace> <stamp> <tag=generation,...>`, a line feed, the value. Times in base 36. `p2` is the
 * version: another one is a miss. Later releases may add fields to the first line; this one passes over them.
 */
export function writeEntry(head: EntryHead, payload: string): string {
  const { letter, createdAt, freshMs, graceMs, generations, tags } = head;
  const times = [createdAt, freshMs, graceMs].map((ms) => Math.round(ms).toString(radix));
  const tagged = tags.map(([tag, generation]) => `${tag}=${generation}`).join(",");
  return `${formatVersion}${letter} ${times.join(" ")} ${generations} ${tagged}\n${payload}`;
}

const tagList = /^[\w.~=,-]{1,20000}$/;

/** Undefined for whatever no release of this version wrote. Read by hand: every hit in the store passes here. */
export function readEntry(text: string): StoredEntry | undefined {
  if (!text.startsWith(formatVersion) || text.charCodeAt(3) !== blank) return undefined;
  const end = text.indexOf("\n");
  if (end === -1 || end > maxHeadLength || digitAt(text, 2) === undefined) return undefined;
  const times = [0, 0, 0];
  let at = 4;
  for (let index = 0; index < times.length; index += 1) {
    const next = text.indexOf(" ", at);
    const time = readTime(text, at, next);
    if (time === undefined) return undefined;
    times[index] = time;
    at = next + 1;
  }
  const generationsEnd = text.indexOf(" ", at);
  if (generationsEnd === -1 || generationsEnd > end || generationsEnd - at > maxGenerationsLength) return undefined;
  const tags = readTags(text, generationsEnd + 1, end);
  if (tags === undefined) return undefined;
  const [createdAt = 0, freshMs = 0, graceMs = 0] = times;
  const generations = text.slice(at, generationsEnd);
  return { letter: text.charAt(2), createdAt, freshMs, graceMs, generations, tags, payload: text.slice(end + 1) };
}

const blank = 0x20;

/** The worth of a digit in base 36; undefined if it is none. */
function digitAt(text: string, at: number): number | undefined {
  const code = text.charCodeAt(at);
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return code >= 0x61 && code <= 0x7a ? code - 0x61 + 10 : undefined;
}

/** What stands from `at` to before `end`, in base 36. */
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

/** The tags in a head that ends at `end`; fields of later releases may follow them. */
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
  /** May many requests share the value? Then it is frozen. */
  readonly isShared: boolean;
  /** When the store was asked, by a monotonic clock. */
  readonly askedAt: number;
  /** The store's clock less the monotonic one. */
  readonly offsetMs: number;
  /** How long it may be used in process without proof. */
  readonly trustMs: number;
  /** Does the store tell of changes of this key? */
  readonly tracked: boolean;
  /** Of the view and the tags, with the epochs it was read under. */
  readonly generations: readonly Generation[];
  readonly versions: readonly number[];
}

/** An entry as it is used in this process; times by a monotonic clock where nothing else is said. */
export class CachedEntry {
  /** By the store's clock. */
  readonly createdAt: number;
  readonly monotonicCreatedAt: number;
  readonly freshUntil: number;
  readonly usableUntil: number;
  readonly trustedUntil: number;
  readonly tracked: boolean;
  /** Does it say that there is nothing? */
  readonly isNegative: boolean;
  readonly size: number;
  readonly #generations: readonly Generation[];
  readonly #versions: readonly number[];
  readonly #codecs: Codecs;
  readonly #letter: string;
  #payload: string;
  #value: unknown;
  /** Is the value frozen, and the same for everybody? */
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

  /** Was it written by somebody who writes what we can read? */
  get isReadable(): boolean {
    return this.isNegative || this.#loaded;
  }

  /** The value: frozen, or one that nobody else gets. Undefined if there is nothing. */
  read(): unknown {
    if (this.#shared) return this.#value;
    if (!this.#loaded) return this.#codecs.decode(this.#letter, this.#payload);
    const value = this.#value;
    this.#loaded = false;
    this.#value = undefined;
    return value;
  }

  /** Has no generation changed since it was read? */
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
    this.#shared = this.#loaded && isShared && this.#freeze();
    if (this.#shared) this.#payload = "";
  }

  /** False for what cannot be frozen. */
  #freeze(): boolean {
    if (this.#letter !== jsonLetter) return freezeAll(this.#value);
    freezeTree(this.#value);
    return true;
  }
}

/**
 * Freezes a value with everything in it, so that many requests may share it; false if there is something that cannot be
 * frozen (Date, Map, Set, typed arrays: freezing does not keep their contents). Not recursive: values may be deep.
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

/** The same for what JSON has made: a tree, of objects and lists alone. */
function freezeTree(root: unknown): void {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null) continue;
    Object.freeze(value);
    for (const member of Object.values(value)) if (typeof member === "object" && member !== null) open.push(member);
  }
}
