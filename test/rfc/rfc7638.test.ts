import { expect } from "chai";
import { verifyProof } from "../../packages/core/src/auth/dpop/proof.js";
import { accessTokenHash, nowSeconds } from "@portcullis/testkit";
import { forge } from "../auth/support/mint.js";
import { unwrap } from "./support/verify.js";

// RFC 7638 3.1: the key, with members that a thumbprint leaves out, and its thumbprint.
const key = {
  kty: "RSA",
  n: unwrap(
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi",
    "FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnY",
    "b9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0",
    "Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
  ),
  e: "AQAB",
  alg: "RS256",
  kid: "2011-04-29",
};
const thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

const uri = "https://api.test/";
const unbound = "the key of the proof is not the one that the token is bound to";

/** Nobody has the private key, so a proof by this key gets as far as its signature if it is the bound one. */
async function causeFor(jwk: object, boundTo: string): Promise<string> {
  const now = nowSeconds();
  const claims = { jti: "a", htm: "GET", htu: uri, ath: accessTokenHash("token"), iat: now };
  const proof = forge({ typ: "dpop+jwt", alg: "RS256", jwk }, claims, () => Buffer.alloc(256, 1));
  const result = await verifyProof(proof, {
    method: "GET",
    uri,
    accessToken: "token",
    thumbprint: boundTo,
    algorithms: ["RS256"],
    nowSeconds: now,
    maxAgeSeconds: 60,
    toleranceSeconds: 0,
  });
  return "cause" in result ? result.cause : "verified";
}

describe("RFC 7638, example of a JWK thumbprint (3.1)", () => {
  const recognised = "the signature of the proof does not verify";

  it("a token bound to the thumbprint is bound to the key", async () => {
    expect(await causeFor(key, thumbprint)).to.equal(recognised);
  });

  it("with any other members of the key, in any order (3.2)", async () => {
    const { kty, n, e } = key;
    expect(await causeFor({ n, kty, e }, thumbprint)).to.equal(recognised);
    expect(await causeFor({ "x-more": 1, ...key, use: "sig", kid: "another" }, thumbprint)).to.equal(recognised);
  });

  it("and to no other key", async () => {
    expect(await causeFor({ ...key, e: "Aw" }, thumbprint)).to.equal(unbound);
    expect(await causeFor({ ...key, n: key.n.replace("0vx7", "1vx7") }, thumbprint)).to.equal(unbound);
    expect(await causeFor({ ...key, kty: "EC", crv: "P-256", x: key.n, y: key.e }, thumbprint)).to.equal(unbound);
  });

  it("a token bound to another spelling of the thumbprint is bound to nothing", async () => {
    const hex = Buffer.from(thumbprint, "base64url").toString("hex");
    for (const other of [hex, `${thumbprint}=`, thumbprint.toLowerCase(), thumbprint.slice(0, -1), ""])
      expect(await causeFor(key, other)).to.equal(unbound);
  });
});
