import { OutageError } from "../../lib/outage.js";

/**
 * Why a store could not answer. Faults of infrastructure are `unreachable`, `timeout`, `open` (the circuit breaker),
 * `overloaded`, `refused` (the server answers with an error such as OOM, READONLY, NOAUTH or LOADING), `skewed` (the
 * clocks of this process and of the server disagree) and `lost` (the server has lost data). `unreadable` is a value
 * under one key, or a reply of the client, that cannot be read.
 */
export type FaultKind =
  "unreachable" | "timeout" | "open" | "overloaded" | "refused" | "skewed" | "lost" | "unreadable";

/**
 * The store could not answer. Only services outside the guard, such as `revocations.revoke`, throw it to the caller;
 * Express and Koa then answer 503. The message never contains a key or an argument.
 */
export class StoreFault extends OutageError {
  override readonly name = "StoreFault";
  /** The stable name of the error. */
  readonly code = "store_unavailable";
  /** The kind of the fault. */
  readonly kind: FaultKind;
  /** The error word of the server, such as `OOM`, or `ERR` with a fixed phrase, such as `ERR unknown command`. */
  readonly reply: string | undefined;

  constructor(kind: FaultKind, reply?: string) {
    super(reply === undefined ? `the store is unavailable: ${kind}` : `the store is unavailable: ${kind} (${reply})`);
    this.kind = kind;
    this.reply = reply;
  }

  /** Is the store itself in trouble, and not only the value under one key? */
  get outage(): boolean {
    return this.kind !== "unreadable";
  }

  /** May the store have done what it was asked to do? Not if nothing was sent to it. */
  get mayHaveRun(): boolean {
    return this.kind !== "open" && this.kind !== "overloaded";
  }
}
