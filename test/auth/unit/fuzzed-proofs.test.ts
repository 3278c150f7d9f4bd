import { accessTokenHash, createDpopClient, nowSeconds } from "@portcullis/testkit";
import type { DpopClient } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { calculateJwkThumbprint } from "jose";
import type { JWK } from "jose";
import { verifyProof } from "../../../packages/core/src/auth/dpop/proof.js";
import type { ExpectedProof } from "../../../packages/core/src/auth/dpop/proof.js";
import { ec, es256, forge } from "../support/mint.js";

const numRuns = process.env.SOAK === undefined ? 500 : 50_000;
const uri = "https://api.test/orders/7";
const now = nowSeconds();

function expectedOf(thumbprint: string): ExpectedProof {
  return {
    method: "GET",
    uri,
    accessToken: "token",
    thumbprint,
    algorithms: ["ES256", "RS256", "EdDSA"],
    nowSeconds: now,
    maxAgeSeconds: 60,
    toleranceSeconds: 5,
  };
}

describe("a random DPoP proof", function () {
  this.timeout(process.env.SOAK === undefined ? 60_000 : 1_800_000);
  let client: DpopClient;
  let thumbprint: string;
  const jwk = ec.publicKey.export({ format: "jwk" }) as JWK;
  before(async () => {
    client = await createDpopClient();
    thumbprint = await calculateJwkThumbprint(jwk);
  });

  /** JSON that also has names of Object's prototype, and members that are no functions where methods are looked for. */
  const odd = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(
      { toString: false },
      { length: 9, toString: null },
      { __proto__: null, kty: "EC" },
      [[]],
      "RSA",
      "OKP",
      "__proto__",
    ),
  );
  const oneOf = (names: readonly string[]) => fc.dictionary(fc.constantFrom(...names), odd, { minKeys: 0, maxKeys: 3 });

  it("is verified or refused, never an error, and is verified only if it is about this request", async () => {
    const changes = fc.record({
      claims: oneOf(["jti", "htm", "htu", "iat", "exp", "nbf", "ath", "nonce", "more"]),
      header: oneOf(["typ", "alg", "crit", "b64", "kid", "jwk"]),
      key: oneOf(["kty", "crv", "x", "y", "n", "e", "use", "alg", "d", "k", "kid", "key_ops", "oth"]),
    });
    const good = { jti: "a", htm: "GET", htu: uri, iat: now, ath: accessTokenHash("token") };
    let verified = 0;
    await fc.assert(
      fc.asyncProperty(changes, fc.nat({ max: 3 }), async ({ claims, header, key }, which) => {
        const payload: Record<string, unknown> = { ...good, ...(which === 0 ? claims : {}) };
        const head: Record<string, unknown> = {
          typ: "dpop+jwt",
          alg: "ES256",
          jwk: { ...jwk, ...(which === 2 ? key : {}) },
          ...(which === 1 ? header : {}),
        };
        const proof = forge(head, payload, es256(ec));
        const outcome = await verifyProof(proof, expectedOf(which === 3 ? client.thumbprint : thumbprint));
        if ("cause" in outcome) {
          expect(outcome.cause).to.match(/^the (?:\w+ (?:of )?){1,4}/);
          return;
        }
        verified += 1;
        expect(which).not.to.equal(3);
        expect([payload.htm, payload.ath, payload.iat]).to.deep.equal(["GET", good.ath, outcome.issuedAt]);
        expect(new URL(payload.htu as string).pathname).to.equal("/orders/7");
        expect(outcome).to.include({ jti: payload.jti, thumbprint });
        expect(head).to.include({ typ: "dpop+jwt", alg: "ES256" });
        expect(head.jwk).to.include({ kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y });
      }),
      { numRuns: numRuns * 2 },
    );
    expect(verified).to.be.greaterThan(numRuns / 10);
  });

  it("is refused wherever a good one was changed, in any way", async () => {
    const edit = fc.record({ at: fc.nat(), drop: fc.nat({ max: 3 }), piece: fc.string({ maxLength: 3 }) });
    const proof = await client.proof({ htm: "GET", htu: uri, iat: now, ath: accessTokenHash("token") });
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 2 }), async (edits) => {
        let changed = proof;
        for (const { at, drop, piece } of edits) {
          const place = at % (changed.length + 1);
          changed = changed.slice(0, place) + piece + changed.slice(place + drop);
        }
        const outcome = await verifyProof(changed, expectedOf(client.thumbprint));
        expect("cause" in outcome).to.equal(changed !== proof);
      }),
      { numRuns },
    );
  });
});
