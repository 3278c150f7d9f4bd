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
