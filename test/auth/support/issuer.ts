import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { expect } from "chai";
import { KeysUnavailable } from "../../../packages/core/src/auth/keys/key-source.js";
import { asymmetricAlgorithms } from "../../../packages/core/src/auth/keys/algorithms.js";
import type { CandidateKey } from "../../../packages/core/src/auth/keys/key-source.js";
import { RemoteKeys } from "../../../packages/core/src/auth/keys/remote-keys.js";
import type { RemoteKeysOptions } from "../../../packages/core/src/auth/keys/remote-keys.js";
import { startServer } from "../../support/local-server.js";
import type { LocalServer } from "../../support/local-server.js";
import type { KeyPair } from "./mint.js";
import { rsa, secondRsa } from "./mint.js";

export type Answer = (req: IncomingMessage, res: ServerResponse) => void;

export function jwkOf({ publicKey }: KeyPair, kid: string): object {
  return { ...publicKey.export({ format: "jwk" }), kid, use: "sig" };
}

/** Answers with a key set; `two` is another key than all others. */
export function keySet(...kids: string[]): Answer {
  return (_req, res) =>
    res.end(JSON.stringify({ keys: kids.map((kid) => jwkOf(kid === "two" ? secondRsa : rsa, kid)) }));
}

/** An identity provider on loopback, a clock that stands until it is moved, and what the log was told. */
export class FakeIssuer {
  answer: Answer = keySet("one");
  clock = 1_000_000;
  readonly warnings: unknown[] = [];
  readonly server: LocalServer;
  readonly #opened: RemoteKeys[] = [];

  private constructor(server: LocalServer) {
    this.server = server;
  }

  static async start(): Promise<FakeIssuer> {
    const late: { issuer?: FakeIssuer } = {};
    const server = await startServer((req, res) => {
      const answer = req.url === "/good" ? keySet("one") : late.issuer?.answer;
      answer?.(req, res);
    });
    late.issuer = new FakeIssuer(server);
    return late.issuer;
  }

  open(location: RemoteKeysOptions["location"] = { jwksUri: `${this.server.url}/jwks` }): RemoteKeys {
    const keys = new RemoteKeys({
      location,
      algorithms: asymmetricAlgorithms,
      logger: { debug: () => undefined, warn: (...args) => void this.warnings.push(args) },
      now: () => this.clock,
    });
    this.#opened.push(keys);
    return keys;
  }

  async close(): Promise<void> {
    for (const keys of this.#opened) keys.close();
    await this.server.close();
  }
}

export function find(keys: RemoteKeys, kid: string): Promise<readonly CandidateKey[]> {
  return keys.candidates({ alg: "RS256", kid });
}

export async function outcome(keys: RemoteKeys, kid = "one"): Promise<"found" | "none" | "unavailable"> {
  try {
    return (await find(keys, kid)).length > 0 ? "found" : "none";
  } catch (error) {
    expect(error).to.be.instanceOf(KeysUnavailable);
    return "unavailable";
  }
}

/** Until a fetch in the background has come to its end. */
export async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 1000 && !condition(); round += 1) await pause(5);
  expect(condition()).to.be.true;
}
