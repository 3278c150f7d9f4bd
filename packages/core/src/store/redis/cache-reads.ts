import type { CacheQuestion } from "../ports/cache.js";
import { sendLong } from "./client.js";
import type { Connection } from "./connect.js";
import { callEachSlot } from "./hash-slot.js";
import { readListOf, readOptionalText } from "./replies.js";

/** Maximum number of keys of one MGET. */
const maxKeys = 256;

/** The answer to a question. */
export interface CacheReading {
  readonly text: string | undefined;
  readonly along: readonly (string | undefined)[];
}

const noTexts: readonly undefined[] = [];
/** The place of no key. */
const missing = -1;

/** Reads the keys of all questions, each key once: with one MGET, or in a Cluster with one for each hash slot. */
export async function readTexts(
  { client, isCluster }: Pick<Connection, "client" | "isCluster">,
  questions: readonly CacheQuestion[],
): Promise<CacheReading[]> {
  const asked = new DistinctKeys();
  // Loops instead of callbacks: this runs for each value that is read.
  const places: number[] = [];
  const lists = new Map<readonly string[], number[]>();
  for (const { storeKey, along } of questions) {
    places.push(storeKey === undefined ? missing : asked.place(storeKey));
    if (along.length > 0 && !lists.has(along))
      lists.set(
        along,
        along.map((each) => asked.place(each)),
      );
  }
  const { keys } = asked;
  const read = isCluster ? readAcrossSlots : readTogether;
  const values = keys.length <= maxKeys ? await read(client, keys) : await readInParts(read, client, keys);
  const texts = new Map<readonly string[], readonly (string | undefined)[]>();
  for (const [along, all] of lists)
    texts.set(
      along,
      all.map((place) => values[place]),
    );
  return questions.map(({ along }, index) => {
    const place = places[index] ?? missing;
    const text = place === missing ? undefined : values[place];
    return { text, along: along.length === 0 ? noTexts : (texts.get(along) ?? noTexts) };
  });
}

/** The keys of one MGET, each of them once. */
class DistinctKeys {
  readonly keys: string[] = [];
  readonly #places = new Map<string, number>();

  place(key: string): number {
    let place = this.#places.get(key);
    if (place === undefined) {
      place = this.keys.push(key) - 1;
      this.#places.set(key, place);
    }
    return place;
  }
}

/** Reads keys with one MGET for each hash slot. */
async function readAcrossSlots(client: Connection["client"], keys: readonly string[]): Promise<(string | undefined)[]> {
  return callEachSlot(
    keys,
    (key) => key,
    (slot) => readTogether(client, slot),
  );
}

async function readTogether(client: Connection["client"], keys: readonly string[]): Promise<(string | undefined)[]> {
  return readListOf(await sendLong(client, "mget", keys, "text"), keys.length).map(readOptionalText);
}

async function readInParts(
  read: typeof readTogether,
  client: Connection["client"],
  keys: readonly string[],
): Promise<(string | undefined)[]> {
  const parts = Array.from({ length: Math.ceil(keys.length / maxKeys) }, (_, index) =>
    read(client, keys.slice(index * maxKeys, (index + 1) * maxKeys)),
  );
  return (await Promise.all(parts)).flat();
}
