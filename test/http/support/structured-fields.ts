/** A small parser of structured field values (RFC 9651 4.2): what the rate-limit fields use of it, and strictly. */

export type BareItem = string | number | boolean;
export interface Item {
  readonly value: BareItem;
  readonly parameters: Readonly<Record<string, BareItem>>;
}

class Reader {
  #rest: string;

  constructor(text: string) {
    if (!/^[\x20-\x7e]*$/.test(text)) throw new Error("not ASCII");
    this.#rest = text;
  }

  isDone(): boolean {
    return this.#rest === "";
  }

  take(pattern: RegExp): string | undefined {
    const match = new RegExp(`^(?:${pattern.source})`).exec(this.#rest);
    if (match === null) return undefined;
    this.#rest = this.#rest.slice(match[0].length);
    return match[0];
  }

  expect(pattern: RegExp): string {
    const found = this.take(pattern);
    if (found === undefined) throw new Error(`expected ${pattern.source} at ${JSON.stringify(this.#rest)}`);
    return found;
  }
}

function readBareItem(reader: Reader): BareItem {
  const quoted = reader.take(/"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"/);
  if (quoted !== undefined) return quoted.slice(1, -1).replaceAll(/\\(.)/g, "$1");
  const boolean = reader.take(/\?[01]/);
  if (boolean !== undefined) return boolean === "?1";
  const integer = reader.expect(/-?\d{1,15}(?![\d.])/);
  return Number(integer);
}

function readItem(reader: Reader): Item {
  const value = readBareItem(reader);
  const parameters: Record<string, BareItem> = {};
  while (reader.take(/; */) !== undefined) {
    const name = reader.expect(/[a-z*][a-z0-9_\-.*]*/);
    parameters[name] = reader.take(/=/) === undefined ? true : readBareItem(reader);
  }
  return { value, parameters };
}

function readMembers<T>(text: string, readMember: (reader: Reader) => T): T[] {
  const reader = new Reader(text);
  reader.take(/ */);
  const members: T[] = [];
  while (!reader.isDone()) {
    members.push(readMember(reader));
    reader.take(/ */);
    if (reader.isDone()) return members;
    reader.expect(/,[ \t]*/);
    if (reader.isDone()) throw new Error("a comma at the end");
  }
  return members;
}

export function parseList(text: string): Item[] {
  return readMembers(text, readItem);
}

export function parseDictionary(text: string): Record<string, Item> {
  const entries = readMembers(text, (reader) => {
    const name = reader.expect(/[a-z*][a-z0-9_\-.*]*/);
    return [name, reader.take(/=/) === undefined ? { value: true, parameters: {} } : readItem(reader)] as const;
  });
  return Object.fromEntries(entries);
}

export function parseItem(text: string): Item {
  const [item, ...more] = parseList(text);
  if (item === undefined || more.length > 0) throw new Error("not one item");
  return item;
}
