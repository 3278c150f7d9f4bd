import { randomUUID } from "node:crypto";
import { StoreFault } from "../ports/fault.js";
import type {
  TopKeysPart,
  TopKeysKeys,
  LimitOverrides,
  LimitOverride,
  LimitOverrideList,
  OverrideTerms,
} from "../ports/limit-overrides.js";
import { maxTopKeys, maxOverrides, readOverride, writeOverride } from "../ports/limit-overrides.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import { readFlag, readInteger, readList, readNumber, readOptionalText, readPairs } from "./replies.js";
import {
  blockScript,
  readBlockScript,
  addTopKeysScript,
  readTopKeysScript,
  changeOverrideScript,
  readOverridesScript,
} from "./scripts/limit-overrides.js";
import type { Script } from "./scripts/lua.js";
import { sharedKeyMs } from "../keyspace.js";

export interface RedisLimitOverridesOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  /** The key of the hash of all overrides. */
  readonly rulesKey: string;
}

/**
 * Limit overrides and top keys in Redis, for all processes: one hash of overrides, and two sorted sets for each policy.
 */
export class RedisLimitOverrides implements LimitOverrides {
  readonly #options: RedisLimitOverridesOptions;

  constructor(options: RedisLimitOverridesOptions) {
    this.#options = options;
  }

  async readOverrides(known: string | undefined): Promise<LimitOverrideList | undefined> {
    // It may take two calls. Processes read again and again, which begins no wait for the connection.
    const found = await this.#within(async () => this.#readPairs(known), 2 * this.#options.deadlineMs, "background");
    if (found === undefined) return undefined;
    const { now, all } = found;
    const rules = new Map<string, LimitOverride>();
    let read = "";
    for (const [name, text] of all) {
      if (name === "version") {
        read = text;
        continue;
      }
      const rule = readOverride(text, now);
      if (rule !== undefined) rules.set(name, rule);
      // The other overrides stay in force, although one cannot be read.
      else this.#options.connection.unreadable?.("rules", new StoreFault("unreadable", "WRONGTYPE"));
    }
    return { version: read, rules };
  }

  async setOverride(name: string, rule: OverrideTerms, life: number | undefined): Promise<boolean> {
    return this.#change(name, writeOverride(rule), life ?? "");
  }

  async removeOverride(name: string): Promise<void> {
    await this.#change(name, "", "");
  }

  async forget(keys: readonly string[]): Promise<void> {
    await Promise.all(keys.map((key) => this.#call(readInteger, "DEL", key)));
  }

  async block(blockKey: string, life: number): Promise<void> {
    await this.#run(blockScript, [blockKey], [life], readFlag);
  }

  async unblock(blockKey: string): Promise<void> {
    await this.#call(readInteger, "DEL", blockKey);
  }

  async readBlock(blockKey: string): Promise<number> {
    return this.#run(readBlockScript, [blockKey], [], readInteger);
  }

  async addTopKeys(keys: TopKeysKeys, demands: readonly TopKeysPart[]): Promise<void> {
    const pairs = demands.flatMap(({ partition, points }) => [points, partition]);
    await this.#run(addTopKeysScript, keys, [maxTopKeys, ...pairs], readFlag);
  }

  async readTopKeys(keys: TopKeysKeys, most: number): Promise<readonly TopKeysPart[]> {
    const pairs = await this.#run(readTopKeysScript, keys, [most], readPairs);
    return pairs.map(([partition, points]) => ({ partition, points: readNumber(points) }));
  }

  /** Undefined if Redis has the known version. */
  async #readPairs(known: string | undefined): Promise<ReturnType<typeof readDatedPairs> | undefined> {
    const { connection, rulesKey } = this.#options;
    const { client } = connection;
    if (known !== undefined) {
      const version = readOptionalText(await client.call("HGET", rulesKey, "version")) ?? "";
      if (version === known) return undefined;
    }
    return readDatedPairs(await runScript(client, readOverridesScript, [rulesKey], [sharedKeyMs]));
  }

  async #change(name: string, rule: string, life: number | ""): Promise<boolean> {
    const { rulesKey } = this.#options;
    return this.#run(
      changeOverrideScript,
      [rulesKey],
      [name, rule, life, randomUUID(), maxOverrides, sharedKeyMs],
      readFlag,
    );
  }

  async #run<T>(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    read: (reply: unknown) => T,
  ): Promise<T> {
    const { connection, deadlineMs } = this.#options;
    return this.#within(async () => read(await runScript(connection.client, script, keys, args)), deadlineMs);
  }

  async #call<T>(read: (reply: unknown) => T, command: string, ...words: string[]): Promise<T> {
    const { connection, deadlineMs } = this.#options;
    return this.#within(async () => read(await connection.client.call(command, ...words)), deadlineMs);
  }

  async #within<T>(call: () => Promise<T>, deadlineMs: number, whose?: "background"): Promise<T> {
    const { connection } = this.#options;
    if (connection.wait?.isOver === true && !connection.isUp()) throw new StoreFault("unreachable");
    return callWithin(deadlineMs, connection, call, "rules", whose);
  }
}

/** Reads Redis' time in ms, and the pairs at that time. */
function readDatedPairs(reply: unknown): { now: number; all: [name: string, value: string][] } {
  const [now, ...all] = readList(reply);
  return { now: readInteger(now), all: readPairs(all) };
}
