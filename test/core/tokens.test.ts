import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { events } from "../../packages/core/src/index.js";
import type { Denied } from "../../packages/core/src/index.js";
import type { FakeGate, FakeOptions } from "./support/gate.js";
import { admit, openGate, refuse } from "./support/gate.js";
import type { LocalServer } from "./support/http.js";
import { startServer } from "./support/http.js";
import { hostileTokens } from "./support/hostile.js";
import type { GateName } from "./support/hostile.js";
import { claimsWith, ec, ed, eddsa, es256, forge, hs256, rs256, rsa, secondRsa } from "./support/mint.js";
import type { KeyPair } from "./support/mint.js";

const common = { audience: testAudience, issuer: testIssuer };

function jwkOf({ publicKey }: KeyPair, kid: string): object {
  return { ...publicKey.export({ format: "jwk" }), kid, use: "sig" };
}

const jwks = {
  keys: [
    { ...jwkOf(rsa, "rsa-1"), kty: "RSA" },
    { ...jwkOf(secondRsa, "rsa-2"), kty: "RSA" },
    { ...jwkOf(ec, "ec-1"), kty: "EC" },
    { kty: "oct", kid: "oct-1", k: Buffer.from(testSecret).toString("base64url") },
  ],
};

const gateOptions: Readonly<Record<GateName, NonNullable<FakeOptions["auth"]>>> = {
  secret: testAuth,
  rsa: { ...common, publicKey: rsa.publicKey, algorithms: ["RS256"] },
  ec: { ...common, publicKey: ec.publicKey, algorithms: ["ES256"] },
  ed: { ...common, publicKey: ed.publicKey, algorithms: ["EdDSA"] },
  jwks: { ...common, jwks, algorithms: ["RS256", "ES256"] },
};

/** One good token for each gate, by the right key. */
const good: Readonly<Record<GateName, () => string>> = {
  secret: () => forge({ alg: "HS256" }, claimsWith(), hs256),
  rsa: () => forge({ alg: "RS256" }, claimsWith(), rs256(rsa)),
  ec: () => forge({ alg: "ES256" }, claimsWith(), es256(ec)),
  ed: () => forge({ alg: "EdDSA" }, claimsWith(), eddsa(ed)),
  jwks: () => forge({ alg: "RS256", kid: "rsa-2" }, claimsWith(), rs256(secondRsa)),
};

const body =
  '{"type":"https://github.com/portcullis/portcullis/blob/main/docs/errors.md#token_invalid",' +
  '"title":"The access token is not valid","status":401,"code":"token_invalid"}';

/** The answer that every refusal of a bad token must have, byte for byte. */
const reference: Pick<Denied, "status" | "body" | "headers"> = {
  status: 401,
  body,
  headers: [
    [
      "WWW-Authenticate",
      'Bearer error="invalid_token", error_description="The access token is malformed, expired, revoked or not meant for this API"',
    ],
    ["Content-Type", "application/problem+json"],
    ["Content-Length", String(body.length)],
    ["Cache-Control", "no-store"],
  ],
};

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
    for (const [name, auth] of Object.entries(gateOptions)) gates.set(name as GateName, openGate({ auth, logger }));
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
          expect({ status: denied.status, body: denied.body, headers: denied.headers }).to.deep.equal(reference);
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
      for (const [name, gate] of gates) expect((await admit(gate, good[name]())).subject, name).to.equal("alice");
    });

    it("without a connection to any address that a token names", () => {
      expect(trap.connections).to.equal(0);
    });

    it("without a part of the token in logs and events", () => {
      expect(logged.length).to.be.above(300);
      expect(published.length).to.be.above(300);
      const text = JSON.stringify([logged, published]);
      expect(text).not.to.match(/eyJ|alice|\/dev\/null|DROP TABLE|127\.0\.0\.1/);
      expect(text).not.to.include(testIssuer);
    });
  });
});
