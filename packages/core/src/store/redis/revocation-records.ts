import type { FoundRecords, RecordListener, RevocationRecords } from "../ports/revocation.js";
import type { StoreFault } from "../ports/fault.js";
import type { RedisLike } from "./client.js";
import { cork } from "./client.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import {
  faultOfError,
  integerIn,
  readInteger,
  readList,
  readListOf,
  readOptionalText,
  readText,
  unreadable,
} from "./replies.js";
import { readRecordsScript } from "./scripts/revocation.js";
import type { Tracking } from "./tracking.js";

export interface RedisRevocationRecordsOptions {
  readonly connection: Connection;
  readonly tracking: Tracking;
  /** The prefixes of all keys of revocation. */
  readonly prefixes: readonly string[];
  readonly deadlineMs: number;
}

/** Keys of one command: more would delay other clients of a shared Redis. */
const chunkKeys = 256;
/** Commands that are sent before the replies to them are awaited. */
const maxChunks = 16;
const maxKeysInFlight = 1000;
/** Nobody waits for the answer. Under load it may come later than that of a request. */
const minDeadlineMs = 1000;

type Chunk = readonly string[];

/**
 * Reads records of revocation in Redis, outside requests. Almost no record exists, so one EXISTS for many keys shows that none
 * of them does, for values of any type. In a Cluster each key is asked about by itself.
 */
export class RedisRevocationRecords implements RevocationRecords {
  readonly #options: RedisRevocationRecordsOptions;
  readonly #listeners = new Set<RecordListener>();
  #isTracking = false;
  #stopListening: (() => void) | undefined;

  constructor(options: RedisRevocationRecordsOptions) {
    this.#options = options;
  }

  async find(keys: readonly string[]): Promise<FoundRecords> {
    const { isCluster } = this.#options.connection;
    const chunks = chunksOf(keys, isCluster ? 1 : chunkKeys);
    const atOnce = isCluster ? maxKeysInFlight : maxChunks;
    const found = new Map<string, number | undefined>();
    let fault: StoreFault | undefined;
    for (let start = 0; start < chunks.length; start += atOnce) {
      const round = chunks.slice(start, start + atOnce);
      const faults = await this.#readAll(round, found);
      fault ??= faults[0];
      // A server that does not answer would let every round wait.
      if (faults.length === round.length) break;
    }
    return { found, fault };
  }

  /** The tracking goes on when the last listener is removed: to end it, all messages of this process would pause. */
  watch(listener: RecordListener): () => void {
    const { connection, tracking, prefixes } = this.#options;
    this.#listeners.add(listener);
    this.#stopListening ??= connection.onConnect(() => this.#tell((one) => one.missed()));
    if (!this.#isTracking) {
      this.#isTracking = true;
      for (const prefix of prefixes)
        tracking.track({
          prefix,
          invalidate: (key) => this.#tell((one) => one.changed(key)),
          flush: () => this.#tell((one) => one.missed()),
        });
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#stopListening?.();
      this.#stopListening = undefined;
    };
  }

  #tell(call: (listener: RecordListener) => void): void {
    for (const listener of [...this.#listeners]) call(listener);
  }

  /** Resolves to the faults of the chunks that could not be read. */
  async #readAll(chunks: readonly Chunk[], found: Map<string, number | undefined>): Promise<StoreFault[]> {
    const { connection, deadlineMs } = this.#options;
    const ms = Math.max(deadlineMs, minDeadlineMs);
    const faults: StoreFault[] = [];
    const corked = cork(connection.client);
    const calls = chunks.map(async (chunk) => {
      try {
        await callWithin(ms, connection, async () => readChunk(connection.client, chunk, found), "revocation");
      } catch (error) {
        faults.push(faultOfError(error));
      }
    });
    corked.release();
    await Promise.all(calls);
    return faults;
  }
}

function chunksOf(keys: readonly string[], size: number): Chunk[] {
  const chunks: Chunk[] = [];
  for (let start = 0; start < keys.length; start += size) chunks.push(keys.slice(start, start + size));
  return chunks;
}

/**
 * First asks how many of the keys exist, whatever their type, and reads their values only then. MGET returns null for other
 * types than strings; if there are such keys, a script says which, since it is slower.
 */
async function readChunk(client: RedisLike, chunk: Chunk, found: Map<string, number | undefined>): Promise<void> {
  const count = readInteger(await client.call("EXISTS", ...chunk));
  if (count === 0) return;
  const texts = readListOf(await client.call("MGET", ...chunk), chunk.length).map(readOptionalText);
  if (texts.filter((text) => text !== undefined).length === count) {
    texts.forEach((text, index) => {
      const key = chunk[index];
      if (text !== undefined && key !== undefined) found.set(key, integerIn(text, 0));
    });
    return;
  }
  const reply = readList(await runScript(client, readRecordsScript, chunk, []));
  for (let index = 0; index < reply.length; index += 2) {
    const key = chunk[readInteger(reply[index], 1) - 1];
    if (key === undefined) throw unreadable();
    found.set(key, integerIn(readText(reply[index + 1]), 0));
  }
}
