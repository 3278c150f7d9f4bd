import { Breaker } from "../../lib/breaker.js";
import type { BreakerControl } from "../../lib/breaker.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { StoreFault } from "../ports/fault.js";
import type { NewOneTimeValue, OneTimeIssued, OneTimeStore } from "../ports/one-time.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import { runDeclared } from "./declared-keys.js";
import { faultOfError, readInteger, readListOf, readOptionalText, tellBreaker } from "./replies.js";
import type { Script } from "./scripts/lua.js";
import { consumeOneTimeScript, issueOneTimeScript, revokeOneTimeScript } from "./scripts/one-time.js";
import { keyPrefixOf } from "./topology.js";
import { monotonicNow, setTimeout } from "../../lib/real-timers.js";

export interface RedisOneTimeStoreOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
}

/** How long a consumption can be asked again: longer than any call waits, also on a machine that stood still. */
const repeatableMs = 10_000;
/** Pause before a lost reply is asked for again: the client may be connecting anew. */
const pauseMs = 5;

/** One-time values in Redis. Each call is one command or one script, in one hash slot; a script may run again with more keys. */
export class RedisOneTimeStore implements OneTimeStore {
  readonly #connection: Connection;
  readonly #deadlineMs: number;
  readonly #breaker: Breaker;
  /** The key prefix of the client, which it does not add to keys that are arguments. */
  readonly #keyPrefix: string;

  constructor({ connection, deadlineMs, telemetry }: RedisOneTimeStoreOptions) {
    this.#connection = connection;
    this.#deadlineMs = deadlineMs;
    this.#breaker = new Breaker({ name: "redis.one-time", telemetry });
    this.#keyPrefix = keyPrefixOf(connection.client);
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  async issue({ key, subjectKey, content, ttlMs, maxOutstanding }: NewOneTimeValue): Promise<OneTimeIssued> {
    const keys = subjectKey === undefined ? [key] : [key, subjectKey];
    const args = [content, ttlMs, maxOutstanding, key, this.#keyPrefix];
    return this.#call(async () => {
      const [, expiresAt, dropped] = await this.#declared(issueOneTimeScript, keys, args, 3);
      return { expiresAt: readInteger(expiresAt), dropped: readInteger(dropped) };
    });
  }

  /** A lost reply is asked for again, since the value may be consumed. It takes two deadlines at most. */
  async consume(key: string, consumption: string): Promise<string | undefined> {
    const args = [consumption, repeatableMs + 2 * this.#deadlineMs];
    const wasUp = this.#connection.isUp();
    const endsAt = monotonicNow() + 2 * this.#deadlineMs;
    return this.#guarded(async () => {
      for (;;) {
        try {
          return await this.#within(
            async () => readOptionalText(await this.#run(consumeOneTimeScript, [key], args)),
            Math.min(endsAt - monotonicNow(), this.#deadlineMs),
          );
        } catch (error) {
          // Without a connection nothing was sent.
          if (!wasUp || !isAmbiguous(error)) throw error;
          await pause();
          // Later Redis might have forgotten the consumption: its answer would be that there is no value.
          if (monotonicNow() >= endsAt) throw error;
        }
      }
    });
  }

  async peek(key: string): Promise<string | undefined> {
    const { client } = this.#connection;
    return this.#call(async () => {
      const text = readOptionalText(await client.call("GET", key));
      if (text === undefined || text.startsWith("0")) return undefined;
      if (!text.startsWith("1")) throw new StoreFault("unreadable", "WRONGTYPE");
      return text.slice(1);
    });
  }

  async revoke(subjectKey: string): Promise<number> {
    return this.#call(async () => {
      const [, ended] = await this.#declared(revokeOneTimeScript, [subjectKey], [this.#keyPrefix], 2);
      return readInteger(ended);
    });
  }

  /** Runs a script that asks for the values of a subject: again while others are issued, and until the deadline. */
  async #declared(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    length: number,
  ): Promise<readonly unknown[]> {
    const endsAt = monotonicNow() + this.#deadlineMs;
    const reply = await runDeclared(
      (further) => this.#run(script, [...keys, ...further], args),
      () => monotonicNow() < endsAt,
    );
    if (reply === undefined) throw new StoreFault("timeout");
    return readListOf(reply, length);
  }

  async #run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return runScript(this.#connection.client, script, keys, args);
  }

  async #call<T>(call: () => Promise<T>): Promise<T> {
    return this.#guarded(() => this.#within(call, this.#deadlineMs));
  }

  async #within<T>(call: () => Promise<T>, ms: number): Promise<T> {
    return callWithin(ms, this.#connection, call, "one-time");
  }

  /** Runs calls as one call of the breaker. */
  async #guarded<T>(calls: () => Promise<T>): Promise<T> {
    if (!this.#breaker.enter()) throw new StoreFault("open");
    try {
      const answer = await calls();
      this.#breaker.succeed();
      return answer;
    } catch (error) {
      const fault = faultOfError(error);
      tellBreaker(this.#breaker, fault);
      throw fault;
    }
  }
}

/** May Redis have done what was asked, although its reply did not arrive? */
function isAmbiguous(error: unknown): boolean {
  return error instanceof StoreFault && (error.kind === "unreachable" || error.kind === "timeout");
}

async function pause(): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, pauseMs);
  });
}
