import type { Deadline } from "../../lib/deadline.js";
import { Deadlines } from "../../lib/deadline.js";
import type { Breaker } from "../../lib/breaker.js";
import { StoreFault } from "../ports/fault.js";
import { cork } from "./client.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { isUnknown, runScript } from "./run-script.js";
import type { UnreadablePart } from "./replies.js";
import { faultOfError, tellBreaker } from "./replies.js";
import type { Script } from "./scripts/lua.js";
import { monotonicNow, nextTick, setImmediate } from "../../lib/real-timers.js";

export interface ScriptClientOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  readonly breaker: Breaker;
  /** Names what cannot be read. */
  readonly part: UnreadablePart;
}

/** The number of keys, the keys, and the arguments of a script. */
export type ScriptArguments = readonly (string | number)[];

/**
 * Runs scripts with a deadline and a breaker, each by itself: nothing waits to be sent in a batch. One timer serves all
 * deadlines.
 */
export class ScriptClient {
  readonly options: ScriptClientOptions;
  readonly #deadlines = new Deadlines();
  #sentInTurn = 0;
  #corked: { release: () => void } | undefined;

  constructor(options: ScriptClientOptions) {
    this.options = options;
  }

  /** Rejects with a StoreFault. A reply after the deadline is dropped. */
  run<T>(script: Script, args: ScriptArguments, read: (reply: unknown) => T): Promise<T> {
    const { breaker, connection, deadlineMs } = this.options;
    if (!breaker.enter()) return Promise.reject(new StoreFault("open"));
    if (connection.wait !== undefined && connection.wait.ms > 0) return this.#runLater(script, args, read);
    this.#gather();
    return new Promise<T>((resolve, reject) => {
      const call = new Call(this, script, args, read, resolve, reject);
      call.deadline = this.#deadlines.set(monotonicNow() + deadlineMs, call);
      call.send("EVALSHA", script.sha1);
    });
  }

  cancel(deadline: Deadline | undefined): void {
    if (deadline !== undefined) this.#deadlines.cancel(deadline);
  }

  /** The fault of an error, of which the breaker is told. */
  faultOf(error: unknown): StoreFault {
    const { breaker, connection } = this.options;
    const fault = faultOfError(error);
    tellBreaker(breaker, fault);
    if (breaker.state === "open" && fault.reply === "READONLY") connection.leaveReplica();
    return fault;
  }

  /** When calls wait for the connection. */
  async #runLater<T>(script: Script, args: ScriptArguments, read: (reply: unknown) => T): Promise<T> {
    const { breaker, connection, deadlineMs, part } = this.options;
    const [count, ...rest] = args;
    const keys = rest.slice(0, Number(count)).map(String);
    const call = async (): Promise<T> =>
      read(await runScript(connection.client, script, keys, rest.slice(keys.length)));
    try {
      const value = await callWithin(deadlineMs, connection, call, part);
      breaker.succeed();
      return value;
    } catch (error) {
      throw this.faultOf(error);
    }
  }

  /** Calls of one turn are sent in two writes: the first one, and all others. */
  #gather(): void {
    if (this.#sentInTurn === 0) nextTick(this.#endTurn);
    else if (this.#sentInTurn === 1) this.#corked = cork(this.options.connection.client);
    this.#sentInTurn += 1;
  }

  readonly #endTurn = (): void => {
    this.#sentInTurn = 0;
    this.#corked?.release();
    this.#corked = undefined;
  };
}

/** A call that has not ended. A class, since closures for each call take time and memory. */
class Call<T> {
  deadline: Deadline | undefined;
  readonly #client: ScriptClient;
  readonly #script: Script;
  readonly #args: ScriptArguments;
  readonly #read: (reply: unknown) => T;
  readonly #resolve: (value: T) => void;
  readonly #reject: (fault: StoreFault) => void;
  #hasEnded = false;

  constructor(
    client: ScriptClient,
    script: Script,
    args: ScriptArguments,
    read: (reply: unknown) => T,
    resolve: (value: T) => void,
    reject: (fault: StoreFault) => void,
  ) {
    this.#client = client;
    this.#script = script;
    this.#args = args;
    this.#read = read;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  send(command: "EVALSHA" | "EVAL", script: string): void {
    const { client } = this.#client.options.connection;
    try {
      client.call(command, script, ...this.#args).then(
        (reply) => this.#receive(reply),
        (error: unknown) => this.#fail(error),
      );
    } catch (error) {
      this.#end(error);
    }
  }

  /** The deadline. A reply that came while this process stood still is read first. */
  pass(): void {
    setImmediate(() => this.#hasEnded || this.#end(new StoreFault("timeout")));
  }

  #receive(reply: unknown): void {
    if (this.#hasEnded) return;
    let value: T;
    try {
      value = this.#read(reply);
    } catch (error) {
      this.#end(error);
      return;
    }
    this.#hasEnded = true;
    this.#client.cancel(this.deadline);
    this.#client.options.breaker.succeed();
    this.#resolve(value);
  }

  #fail(error: unknown): void {
    if (this.#hasEnded) this.#report(error);
    // The server does not know the script, so that nothing has run yet.
    else if (isUnknown(error)) this.send("EVAL", this.#script.source);
    else this.#end(error);
  }

  #end(error: unknown): void {
    this.#hasEnded = true;
    this.#client.cancel(this.deadline);
    this.#report(error);
    this.#reject(this.#client.faultOf(error));
  }

  #report(error: unknown): void {
    const { connection, part } = this.#client.options;
    connection.unreadable?.(part, error);
  }
}
