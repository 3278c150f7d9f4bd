import { testAudience, testIssuer } from "@portcullis/testkit";
import { expect } from "chai";
import type { FakeGate } from "../../support/fake-gate.js";
import { openGate, present } from "../../support/fake-gate.js";
import type { LocalServer } from "../../support/local-server.js";
import { startServer } from "../../support/local-server.js";
import type { KeyPair } from "../support/mint.js";
import { attackerRsa, claimsWith, ec, es256, forge, hmac, rs256, rsa, secondRsa, weakRsa } from "../support/mint.js";

function jwk({ publicKey }: KeyPair, more: object = {}): object {
  return { ...publicKey.export({ format: "jwk" }), ...more };
}

function token(pair: KeyPair, header: object = {}): string {
  return forge({ alg: "RS256", ...header }, claimsWith(), rs256(pair));
}

describe("a gate with the keys of an issuer", () => {
  const cleanUp: (() => Promise<void>)[] = [];
  let server: LocalServer;
  let keys: unknown[];
  let down: boolean;

  beforeEach(async () => {
    keys = [jwk(rsa, { kid: "one" }), jwk(secondRsa, { kid: "two" })];
    down = false;
    server = await startServer((_req, res) => (down ? res.writeHead(503).end() : res.end(JSON.stringify({ keys }))));
    cleanUp.push(() => server.close());
  });
  afterEach(async () => {
    for (const clean of cleanUp.splice(0).reverse()) await clean();
  });

  function open(more: object = {}): FakeGate {
    const gate = openGate({
      auth: { jwksUri: `${server.url}/jwks`, audience: testAudience, issuer: testIssuer, ...more },
    });
    cleanUp.push(() => gate.close());
    return gate;
  }

  async function status(gate: FakeGate, text: string): Promise<number> {
    const { verdict } = await present(gate, text);
    return verdict.allowed ? 200 : verdict.status;
  }

  it("accepts tokens that these keys signed, with and without kid, and no others", async () => {
    const gate = open();
    for (const [pair, kid] of [
      [rsa, "one"],
      [secondRsa, "two"],
      [rsa, undefined],
      [secondRsa, undefined],
    ] as const) {
      expect(await status(gate, token(pair, { kid }))).to.equal(200);
    }
    for (const [pair, kid] of [
      [rsa, "two"],
      [attackerRsa, "one"],
      [attackerRsa, undefined],
      [rsa, "three"],
    ] as const) {
      expect(await status(gate, token(pair, { kid }))).to.equal(401);
    }
  });

  it("answers every token with 503 and Retry-After until the first keys arrive, and reports it in its health", async () => {
    down = true;
    const gate = open();
    for (const text of [token(rsa), token(attackerRsa), token(rsa, { kid: "x" })]) {
      const { verdict } = await present(gate, text);
      expect(verdict).to.include({ allowed: false, status: 503 });
      expect(verdict.headers).to.deep.include(["Retry-After", "1"]);
      expect(verdict.headers.map(([name]) => name)).not.to.include("WWW-Authenticate");
    }
    expect(gate.health()).to.include({ status: "down", keys: "down" });
    expect(await status(gate, "Bearer")).to.equal(401);
  });

  it("never verifies HMAC, with any key set and any token", async () => {
    keys.push({ kty: "oct", kid: "oct", alg: "HS256", k: Buffer.alloc(32, 1).toString("base64url") });
    const gate = open();
    for (const kid of ["oct", "one", undefined]) {
      expect(
        await status(gate, forge({ alg: "HS256", kid }, claimsWith(), hmac("sha256", Buffer.alloc(32, 1)))),
      ).to.equal(401);
    }
  });

  it("accepts every asymmetric algorithm that fits the key by default, and with algorithms only the listed ones", async () => {
    keys.push(jwk(ec, { kid: "ec" }));
    const signed = forge({ alg: "ES256", kid: "ec" }, claimsWith(), es256(ec));
    expect(await status(open(), signed)).to.equal(200);
    expect(await status(open({ algorithms: ["RS256"] }), signed)).to.equal(401);
    expect(await status(open({ algorithms: ["RS256"] }), token(rsa))).to.equal(200);
    expect(await status(open(), forge({ alg: "RS256", kid: "ec" }, claimsWith(), rs256(rsa)))).to.equal(401);
  });

  it("refuses a token it has accepted before when the issuer has taken its key back", async () => {
    const clock = Date.now;
    let ahead = 0;
    Date.now = () => clock() + ahead;
    try {
      const gate = open();
      const old = token(rsa, { kid: "one" });
      expect(await status(gate, old)).to.equal(200);
      keys = [jwk(secondRsa, { kid: "two" })];
      ahead = 31_000;
      expect(await status(gate, token(rsa, { kid: "three" }))).to.equal(401);
      expect(server.requests).to.have.length(2);
      expect(await status(gate, old)).to.equal(401);
    } finally {
      Date.now = clock;
    }
  });

  const weak: Readonly<Record<string, object>> = {
    "an RSA key of 1024 bits": jwk(weakRsa, { kid: "bad" }),
    "a key with damaged numbers": { kty: "RSA", kid: "bad", n: "AAAA", e: "AQAB" },
    "a key without numbers": { kty: "RSA", kid: "bad" },
    "a private key": { ...weakRsa.privateKey.export({ format: "jwk" }), kid: "bad" },
    "a key of an unknown kind": { kty: "XYZ", kid: "bad" },
    "an empty object": {},
    "a member that is hostile": JSON.parse(
      '{"kty":"RSA","kid":"bad","__proto__":{"n":"AAAA"},"key_ops":"verify"}',
    ) as object,
  };

  for (const [name, bad] of Object.entries(weak)) {
    it(`refuses with 401, not 500, a token signed with ${name}`, async () => {
      keys = [bad];
      const gate = open();
      // A set of nothing at all says nothing about the kid: that is an issuer in trouble.
      const statuses = name === "an empty object" ? [503, 401] : [401, 401];
      for (const [index, header] of [{ kid: "bad" }, {}].entries())
        expect(await status(gate, token(weakRsa, header))).to.equal(statuses[index]);
    });

    it(`accepts tokens of the good keys beside ${name}, with and without kid`, async () => {
      for (const set of [
        [bad, jwk(rsa, { kid: "one" })],
        [jwk(rsa, { kid: "one" }), bad],
      ]) {
        keys = set;
        const gate = open();
        expect(await status(gate, token(rsa, { kid: "one" }))).to.equal(200);
        expect(await status(gate, token(rsa)), "without kid").to.equal(200);
      }
    });
  }
});
