import { createHook } from "node:async_hooks";
import { expect } from "chai";
import type { PortcullisOptions } from "../../packages/core/src/index.js";
import { createGate } from "../../packages/core/src/gate.js";
import { resolveOptions } from "../../packages/core/src/options.js";
import { silentLogger } from "../support/logger.js";

const options: Readonly<Record<string, PortcullisOptions>> = {
  "keys at a URL": { auth: { jwksUri: "http://127.0.0.1:1/jwks", audience: "api", issuer: "https://issuer.test" } },
  "keys by discovery": { auth: { issuer: "http://127.0.0.1:1", audience: "api" } },
  "issuers by a function": { auth: { issuer: () => true, audience: "api" } },
  "several issuers": {
    auth: { audience: "api", issuers: [{ issuer: "http://127.0.0.1:1" }, { issuer: "http://127.0.0.1:2" }] },
  },
  "keys that are fixed": { auth: { secret: "s".repeat(32), algorithms: ["HS256"], audience: "api" } },
  "a Redis by URL": { redis: "redis://127.0.0.1:1" },
  "limits, caches and revocation": {
    auth: { secret: "s".repeat(32), algorithms: ["HS256"], audience: "api" },
    limits: [{ name: "a", per: "ip", limit: 1, window: "1m", precision: "leased" }],
    cache: { ttl: "1m" },
    revocation: { check: "tracked" },
  },
};

/** The kinds of asynchronous work that a call begins: timers, sockets, look-ups, promises. */
function begunBy(call: () => void): string[] {
  const kinds: string[] = [];
  const hook = createHook({ init: (_id, type) => void kinds.push(type) }).enable();
  try {
    call();
  } finally {
    hook.disable();
  }
  return kinds;
}

describe("reading the options of a gate", () => {
  for (const [name, given] of Object.entries(options)) {
    it(`begins no work: ${name}`, () => {
      expect(begunBy(() => void resolveOptions({ ...given, logger: silentLogger }))).to.deep.equal([]);
    });
  }

  it("starts no work; the gate with these options fetches its keys", async () => {
    let close = (): Promise<void> => Promise.resolve();
    const kinds = begunBy(() => {
      const gate = createGate(
        { ...options["keys at a URL"], redis: "memory", logger: silentLogger },
        () => () => undefined,
      );
      close = () => gate.close();
    });
    await close();
    expect(kinds).to.include("PROMISE").and.to.include("Timeout");
  });
});
