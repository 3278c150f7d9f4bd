import type { BreakerControl } from "../../lib/breaker.js";
import { Breaker } from "../../lib/breaker.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { StoreFault } from "../ports/fault.js";
import type { ClaimAnswer, IdempotencyClaim, IdempotencyCompletion, IdempotencyStore } from "../ports/idempotency.js";
import { RecordWatchers } from "../ports/idempotency.js";
import type { RedisChannels } from "./channels.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import {
  faultOfError,
  faultOfPart,
  readInteger,
  readList,
  readListOf,
  readText,
  tellBreaker,
  textIn,
  unreadable,
} from "./replies.js";
import { claimScript, completeScript, releaseScript } from "./scripts/idempotency.js";
import type { Script } from "./scripts/lua.js";

export interface RedisIdempotencyOptions {
  readonly connection: Connection;
  readonly channels: RedisChannels;
  readonly deadlineMs: number;
  readonly telemetry: Telemetry;
}

/** Messages with the keys of records that have changed, for requests that wait. */
const channel = "idempotency";

/** Records in Redis. Each call is one script call with one key. The first `watch` subscribes to the channel. */
export class RedisIdempotencyStore implements IdempotencyStore {
  readonly #options: RedisIdempotencyOptions;
  readonly #breaker: Breaker;
  readonly #watchers = new RecordWatchers();
  #isSubscribed = false;

  constructor(options: RedisIdempotencyOptions) {
    this.#options = options;
    this.#breaker = new Breaker({ name: "redis.idempotency", telemetry: options.telemetry });
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  claim({ key, owner, fingerprint, leaseMs, waits }: IdempotencyClaim): Promise<ClaimAnswer | StoreFault> {
    return this.#call(claimScript, key, [owner, fingerprint, leaseMs, waits ? 1 : 0], readAnswer);
  }

  async complete({ key, fingerprint, response, ttlMs }: IdempotencyCompletion): Promise<StoreFault | undefined> {
    return this.#call(completeScript, key, [fingerprint, response, ttlMs, ...this.#message(key)], readDone);
  }

  async release({ key, owner }: Pick<IdempotencyClaim, "key" | "owner">): Promise<StoreFault | undefined> {
    return this.#call(releaseScript, key, [owner, ...this.#message(key)], readDone);
  }

  watch(key: string, listener: () => void): () => void {
    // It stays until the gate is closed: the next request that waits needs it again.
    if (!this.#isSubscribed) {
      this.#isSubscribed = true;
      this.#options.channels.subscribe(
        channel,
        (changed) => this.#watchers.notify(changed),
        () => this.#watchers.notifyAll(),
      );
    }
    return this.#watchers.add(key, listener);
  }

  #message(key: string): [channel: string, message: string] {
    const { channels } = this.#options;
    return [channels.nameOf(channel), channels.seal(key)];
  }

  /** Runs a script. Resolves to its reply, or to a fault. */
  async #call<T>(
    script: Script,
    key: string,
    args: readonly (string | number)[],
    read: (reply: unknown) => T,
  ): Promise<T | StoreFault> {
    const { connection, deadlineMs } = this.#options;
    if (!this.#breaker.enter()) return new StoreFault("open");
    const answer = await callWithin(
      deadlineMs,
      connection,
      async () => read(await runScript(connection.client, script, [key], args)),
      "idempotency",
    ).catch(faultOfError);
    tellBreaker(this.#breaker, answer instanceof StoreFault ? answer : undefined);
    return answer;
  }
}

function readAnswer(reply: unknown): ClaimAnswer {
  if (textIn(reply) !== undefined) throw faultOfPart(reply);
  const [state, rest] = readList(reply);
  switch (readText(state)) {
    case "claimed":
      return { state: "claimed" };
    case "mismatch":
      return { state: "mismatch" };
    case "running":
      return { state: "running", leftMs: readInteger(rest) };
    case "completed":
      return { state: "completed", response: readText(readListOf(reply, 2)[1]) };
    default:
      throw unreadable();
  }
}

function readDone(reply: unknown): undefined {
  if (textIn(reply) !== "OK") throw faultOfPart(reply);
}
