import { randomBytes } from "node:crypto";
import { accessTokenHash, nowSeconds } from "@portcullis/testkit";
import { expect } from "chai";
import { calculateJwkThumbprint } from "jose";
import type { JWK } from "jose";
import { verifyProof } from "../../../packages/core/src/auth/dpop/proof.js";

/** A proof whose key its holder chose: nobody has to have the private one to make us verify. */
async function outcomeWith(modulusBits: number, exponent: Buffer): Promise<string> {
  const modulus = randomBytes(modulusBits / 8);
  modulus[0]! |= 0x80;
  modulus[modulus.length - 1]! |= 1;
  const jwk = { kty: "RSA", n: modulus.toString("base64url"), e: exponent.toString("base64url") } satisfies JWK;
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const claims = { jti: "a", htm: "GET", htu: "https://api.test/", iat: nowSeconds(), ath: accessTokenHash("token") };
  const signature = Buffer.concat([Buffer.alloc(1), randomBytes(modulusBits / 8 - 1)]);
  const proof = `${encode({ typ: "dpop+jwt", alg: "RS256", jwk })}.${encode(claims)}.${signature.toString("base64url")}`;
  const result = await verifyProof(proof, {
    method: "GET",
    uri: "https://api.test/",
    accessToken: "token",
    thumbprint: await calculateJwkThumbprint(jwk),
    algorithms: ["RS256"],
    nowSeconds: nowSeconds(),
    maxAgeSeconds: 60,
    toleranceSeconds: 5,
  });
  return "cause" in result ? result.cause : "verified";
}

describe("a DPoP proof that would cost more to verify than to make is refused before that", () => {
  const usual = Buffer.from([1, 0, 1]);

  it("by a key of more than 4096 bits", async () => {
    for (const bits of [4104, 8192, 16_384])
      expect(await outcomeWith(bits, usual), String(bits)).to.equal("the key of the proof is too large");
    for (const bits of [2048, 3072, 4096])
      expect(await outcomeWith(bits, usual), String(bits)).to.equal("the signature of the proof does not verify");
  });

  it("by a key with an exponent of more than 32 bits, which takes a hundred times as long as the usual one", async () => {
    for (const bytes of [5, 8, 256])
      expect(await outcomeWith(2048, Buffer.alloc(bytes, 0xff)), String(bytes)).to.equal(
        "the key of the proof is too large",
      );
    expect(await outcomeWith(2048, Buffer.from([0, 1, 0, 1]))).to.equal("the signature of the proof does not verify");
  });
});
