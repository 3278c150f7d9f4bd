import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { testIssuer } from "@portcullis/testkit";
import { expect } from "chai";
import { events } from "../../../packages/core/src/index.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { admit, openGate, refuse } from "../../support/fake-gate.js";
import type { LocalServer } from "../../support/local-server.js";
import { startServer } from "../../support/local-server.js";
import { goodTokens, hostileGates, refusalOfBadTokens } from "../support/hostile-gates.js";
import { hostileTokens } from "../support/hostile.js";
import type { GateName } from "../support/hostile.js";

describe("a hostile token is refused", () => {
  const gates = new Map<GateName, FakeGate>();
  const logged: unknown[] = [];
  const published: unknown[] = [];
  const note = (message: unknown): void => void published.push(message);
  let trap: LocalServer;

  before(async () => {
    trap = await startServer((_req, res) => res.end('{"keys":[]}'));
    const logger = {
      debug: (...args: unknown[]) => void logged.push(args),
      warn: (...args: unknown[]) => void logged.push(args),
    };
    for (const [name, auth] of Object.entries(hostileGates)) gates.set(name as GateName, openGate({ auth, logger }));
    subscribe(events.denied.name, note);
  });

  after(async () => {
    unsubscribe(events.denied.name, note);
    await trap.close();
    for (const gate of gates.values()) await gate.close();
  });

  for (const [what, tokens] of Object.entries(hostileTokens)) {
    describe(`for ${what}`, () => {
      for (const { name, gate, make } of tokens) {
        it(name, async () => {
          const token = make(trap.url);
          const denied = await refuse(gates.get(gate)!, token);
          expect({ status: denied.status, body: denied.body, headers: denied.headers }).to.deep.equal(
            refusalOfBadTokens,
          );
          expect(denied.cause).to.match(/^[\x20-\x7e]{1,80}$/);
        });
      }
    });
  }

  describe("on the whole", () => {
    it("in more than 300 ways", () => {
      expect(Object.values(hostileTokens).flat()).to.have.length.above(300);
    });

    it("while a good token of each key is accepted", async () => {
      for (const [name, gate] of gates) expect((await admit(gate, goodTokens[name]())).subject, name).to.equal("alice");
    });

    it("without a connection to any address that a token names", () => {
      expect(trap.connections).to.equal(0);
    });

    it("without a part of the token in logs and events, but for the names of services, and of algorithms and keys", () => {
      expect(logged.length).to.be.above(300);
      expect(published.length).to.be.above(300);
      const text = JSON.stringify([logged, published]);
      expect(text).not.to.match(/eyJ|alice|\/dev\/null|DROP TABLE|127\.0\.0\.1/);
      const named = ["iss", "aud", "alg", "kid", "typ"];
      const rest = JSON.stringify([logged, published], (name, value: Record<string, unknown> | undefined) =>
        name === "detail" && named.includes(String(value?.["claim"] ?? value?.["header"]))
          ? { ...value, expected: undefined, found: undefined }
          : value,
      );
      expect(rest).not.to.include(testIssuer);
    });
  });
});
