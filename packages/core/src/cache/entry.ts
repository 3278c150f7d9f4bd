/** What stands before a value in the store. Times in milliseconds, by the store's clock. */
export interface EntryHead {
  /** Of the codec that wrote the value; `0` if the answer is that there is nothing. */
  readonly letter: string;
  readonly createdAt: number;
  readonly freshMs: number;
  /** How long after that it may be used if nothing better is to be had. */
  readonly graceMs: number;
  /** The generations of its view, joined. */
  readonly stamp: string;
  /** Its tags as in keys, each with its generation. */
  readonly tags: readonly (readonly [tag: string, generation: string])[];
}

export interface StoredEntry extends EntryHead {
  readonly payload: string;
}

/**
 * `p2<letter> <created> <fresh> <grace> <stamp> <tag=generation,...>`, a line feed, the value. Times in base 36. `p2` is the
 * version: another one is a miss. Later releases may add fields to the first line; this one passes over them.
 */
export function writeEntry(head: EntryHead, payload: string): string {
  const { letter, createdAt, freshMs, graceMs, stamp, tags } = head;
  const times = [createdAt, freshMs, graceMs].map((ms) => Math.round(ms).toString(36));
  const tagged = tags.map(([tag, generation]) => `${tag}=${generation}`).join(",");
  return `p2${letter} ${times.join(" ")} ${stamp} ${tagged}\n${payload}`;
}

const headLine =
  /^p2([0-9a-z]) ([0-9a-z]{1,10}) ([0-9a-z]{1,10}) ([0-9a-z]{1,10}) ([\w.-]{0,2000}) ([\w.~=,-]{0,20000})(?: [^\n]{0,2000})?\n/;

/** Undefined for whatever no release of this version wrote. */
export function readEntry(text: string): StoredEntry | undefined {
  const match = headLine.exec(text);
  if (match === null) return undefined;
  const [line, letter = "", created = "", fresh = "", grace = "", stamp = "", tagged = ""] = match;
  return {
    letter,
    createdAt: Number.parseInt(created, 36),
    freshMs: Number.parseInt(fresh, 36),
    graceMs: Number.parseInt(grace, 36),
    stamp,
    tags: tagged === "" ? noTags : tagged.split(",").map(readTag),
    payload: text.slice(line.length),
  };
}

const noTags: StoredEntry["tags"] = [];

function readTag(text: string): readonly [string, string] {
  const at = text.lastIndexOf("=");
  return [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
}
