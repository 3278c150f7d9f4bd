import { expect } from "chai";
import { Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { GiveBacks } from "../../../packages/core/src/store/redis/give-backs.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import type { FlakyConnection } from "./flaky-connection.js";
import { openFlaky } from "./flaky-connection.js";

/** Give-backs of one process, on a connection that loses what a test says. */
export interface OpenedGiveBacks {
  readonly flaky: FlakyConnection;
  readonly giveBacks: GiveBacks;
  /** What was logged as a warning. */
  readonly said: string[];
  /** The metric of lost give-backs; undefined before it has a sample. */
  readonly lost: () => number | undefined;
  /** Keeps calls away from Redis, as an operator does. */
  isHeld: boolean;
  /** Resolves when all are given back. Every pause between attempts ends at once. */
  settled(): Promise<void>;
}

/** The Redis and the keys of a test of give-backs. */
export interface GiveBacksRig {
  readonly client: Redis;
  readonly prefix: string;
  readonly keys: Keyspace;
  /** Goes on under a prefix that is not used yet, as every test begins. */
  renewPrefix(): void;
  /** They are closed after the test. */
  open(options?: { readonly isCluster?: boolean; readonly decisionMs?: number | undefined }): OpenedGiveBacks;
  expectEveryKeyEnds(): Promise<void>;
}

/** To be called within `describe`: it adds the hooks that open and close all of it. */
export function setUpGiveBacks(): GiveBacksRig {
  let client: Redis;
  let prefix: string;
  let keys: Keyspace;
  const opened: GiveBacks[] = [];

  function renewPrefix(): void {
    prefix = freshPrefix();
    keys = new Keyspace(prefix, "test");
  }

  before(() => {
    client = new Redis(testRedisUrl());
  });
  after(() => client.disconnect());
  beforeEach(renewPrefix);
  afterEach(async () => {
    for (const giveBacks of opened.splice(0)) await giveBacks.close();
  });

  return {
    get client() {
      return client;
    },
    get prefix() {
      return prefix;
    },
    get keys() {
      return keys;
    },
    renewPrefix,
    open({ isCluster = false, decisionMs } = {}) {
      const [flaky, telemetry, said] = [openFlaky(client, isCluster), new Telemetry(), [] as string[]];
      const giveBacks = new GiveBacks({
        connection: flaky.connection,
        memoryKey: (tag, process) => keys.giveBacks(tag, process),
        isWell: () => true,
        mayCall: () => !all.isHeld,
        decisionMs,
        telemetry,
        logger: { debug: () => undefined, warn: (_: object, message: string) => void said.push(message) },
      });
      opened.push(giveBacks);
      const all: OpenedGiveBacks = {
        ...{ flaky, giveBacks, said, isHeld: false },
        lost: () => telemetry.read().find(({ name }) => name === "portcullis_give_backs_lost_total")?.samples[0]?.value,
        async settled() {
          await new Promise((resolve) => setImmediate(resolve));
          await until(() => {
            // A new connection repeats what was answered a moment ago.
            if (giveBacks.held > 0) flaky.reconnect();
            return giveBacks.held === 0;
          });
        },
      };
      return all;
    },
    async expectEveryKeyEnds() {
      for (const key of await client.keys(`${prefix}*`)) expect(await client.pttl(key), key).to.be.greaterThan(0);
    },
  };
}
