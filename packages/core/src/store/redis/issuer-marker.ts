import type { StoreFault } from "../ports/fault.js";
import type { Claim, IssuerMarker } from "../shared-issuer.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import { readText } from "./replies.js";
import { sharedIssuerScript } from "./scripts/markers.js";

export interface RedisIssuerMarkerOptions {
  readonly connection: Connection;
  readonly key: string;
  /** How long a call waits for a reply. */
  readonly deadlineMs: number;
  /** Life of the marker: as long as a record under the shared keys, so that the owner does not change before. */
  readonly lifeMs: number;
}

/** Timeout of a claim. It is longer than a request waits: a late answer serves later requests. */
const claimTimeoutMs = 2000;

/** The marker as a key of Redis. */
export class RedisIssuerMarker implements IssuerMarker {
  readonly #options: RedisIssuerMarkerOptions;

  constructor(options: RedisIssuerMarkerOptions) {
    this.#options = options;
  }

  async claim(issuer: string, how: Claim): Promise<string | undefined> {
    const { connection, key, lifeMs } = this.#options;
    const call = async (): Promise<string> =>
      readText(await runScript(connection.client, sharedIssuerScript, [key], [issuer, lifeMs, how]));
    const holder = await callWithin(claimTimeoutMs, connection, call, "other", "background");
    return holder === "" ? undefined : holder;
  }

  get waitMs(): number {
    const { connection, deadlineMs } = this.#options;
    return Math.max(deadlineMs, connection.wait?.ms ?? 0);
  }

  enter(): StoreFault | undefined {
    return this.#options.connection.wait?.enter();
  }

  leave(calls: number): void {
    this.#options.connection.wait?.leave(calls);
  }

  get isPromising(): boolean {
    return this.#options.connection.wait?.isPromising === true;
  }

  isUp(): boolean {
    return this.#options.connection.isUp();
  }

  onConnect(listener: () => void): () => void {
    return this.#options.connection.onConnect(listener);
  }
}
