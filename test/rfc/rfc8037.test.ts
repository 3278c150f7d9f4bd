import { createPrivateKey } from "node:crypto";
import { accessTokenHash } from "@portcullis/testkit";
import { expect } from "chai";
import { verifyProof } from "../../packages/core/src/auth/dpop/proof.js";
import { createKeySet } from "../../packages/core/src/auth/keys/key-set.js";
import { createPublicKeys } from "../../packages/core/src/auth/keys/public-keys.js";
import { eddsa, forge } from "../auth/support/mint.js";
import { payloadSignedBy, verifierAt } from "./support/verify.js";

// RFC 8037 A.1 to A.4.
const publicKey = { kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" };
const privateKey = { ...publicKey, d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" };
const thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
const signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
const jws = `eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.${signature}`;

const key = createPrivateKey({ key: privateKey, format: "jwk" });
const sign = eddsa({ privateKey: key, publicKey: key });

describe("RFC 8037, examples of Ed25519 in JOSE", () => {
  it("A.1: the private key is refused at start-up (our profile: a verifier has no private key)", () => {
    expect(() => createPublicKeys("key", [privateKey], ["EdDSA"])).to.throw(TypeError, "private key");
    expect(() => createKeySet("keys", { keys: [privateKey] }, ["EdDSA"])).to.throw(TypeError, "private key");
  });

  it("A.3: a token bound to the thumbprint is bound to the key", async () => {
    const claims = { jti: "a", htm: "GET", htu: "https://api.test/", ath: accessTokenHash("token"), iat: 1000 };
    const proof = forge({ typ: "dpop+jwt", alg: "EdDSA", jwk: publicKey }, claims, sign);
    const expected = {
      ...{ method: "GET", uri: "https://api.test/", accessToken: "token", algorithms: ["EdDSA"] },
      ...{ nowSeconds: 1000, maxAgeSeconds: 1, toleranceSeconds: 0 },
    };
    expect(await verifyProof(proof, { ...expected, thumbprint })).to.deep.equal({
      jti: "a",
      thumbprint,
      issuedAt: 1000,
      nonce: undefined,
    });
    expect(await verifyProof(proof, { ...expected, thumbprint: thumbprint.toUpperCase() })).to.have.property("cause");
  });

  it("A.4: signing gives the signature of the RFC", () => {
    const [header = "", payload = ""] = jws.split(".");
    expect(forge({ alg: "EdDSA" }, "Example of Ed25519 signing", sign)).to.equal(jws);
    expect((sign(`${header}.${payload}`) as Buffer).toString("base64url")).to.equal(signature);
  });

  it("A.5: verifies by the public key and by a key set", async () => {
    for (const keys of [
      createPublicKeys("key", [publicKey], ["EdDSA"]),
      createKeySet("keys", { keys: [{ ...publicKey, use: "sig" }] }, ["EdDSA"]),
    ])
      expect(await payloadSignedBy(keys, jws)).to.equal("Example of Ed25519 signing");
  });

  it("A.5: verifies with no other payload, signature or key", async () => {
    const keys = createPublicKeys("key", [publicKey], ["EdDSA"]);
    expect(await payloadSignedBy(keys, jws.replace("RXhh", "RXhi"))).to.be.undefined;
    expect(await payloadSignedBy(keys, jws.replace("hgyY", "hgyZ"))).to.be.undefined;
    const other = createPublicKeys(
      "key",
      [{ ...publicKey, x: "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08" }],
      ["EdDSA"],
    );
    expect(await payloadSignedBy(other, jws)).to.be.undefined;
  });

  it("A.5: is refused as a token, since its payload is no JWT (our profile: tokens are JWTs)", async () => {
    const verify = verifierAt(1000, { publicKey, algorithms: ["EdDSA"], audience: false });
    expect(await verify(jws)).to.equal("ERR_JWT_INVALID");
    expect(await verify(forge({ alg: "EdDSA" }, { exp: 1060 }, sign))).to.be.an("object");
  });

  it("A.6: a key for key agreement (X25519) verifies nothing", () => {
    const agreement = { kty: "OKP", crv: "X25519", kid: "Bob", x: "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08" };
    expect(() => createPublicKeys("key", [agreement], ["EdDSA"])).to.throw(TypeError, "must be an RSA or Ed25519 key");
    expect(() => createKeySet("keys", { keys: [agreement] }, ["EdDSA"])).to.throw(TypeError, "no key in keys");
  });
});
