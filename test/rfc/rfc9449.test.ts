import { accessTokenHash, createDpopClient, nowSeconds, testAudience, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { verifyProof } from "../../packages/core/src/auth/dpop/proof.js";
import type { ExpectedProof } from "../../packages/core/src/auth/dpop/proof.js";
import { createPublicKeys } from "../../packages/core/src/auth/keys/public-keys.js";
import { openGate, refuse } from "../support/fake-gate.js";
import { withClaims } from "../auth/support/mint.js";
import { payloadSignedBy, unwrap } from "./support/verify.js";

// RFC 9449: the key of figure 4, its thumbprint of figure 9, and the header that all proofs have.
const jwk = {
  kty: "EC",
  x: "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
  y: "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
  crv: "P-256",
};
const thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const header = unwrap(
  "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo",
  "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19",
);

const proof = {
  // Figure 2: a token request.
  token: `${header}.${unwrap(
    "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwi",
    "aWF0IjoxNTYyMjYyNjE2fQ",
  )}.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg`,
  // Figure 7: a refresh.
  refresh: `${header}.${unwrap(
    "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwi",
    "aWF0IjoxNTYyMjY1Mjk2fQ",
  )}.pAqut2IRDm_De6PR93SYmGBPXpwrAk90e8cP2hjiaG5QsGSuKDYW7_X620BxqhvYC8ynrrvZLTk41mSRroapUA`,
  // Figure 13: a request to a protected resource.
  resource: `${header}.${unwrap(
    "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0",
    "ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9",
  )}.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA`,
};
const accessToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

const asked: ExpectedProof = {
  method: "GET",
  uri: "https://resource.example.org/protectedresource",
  accessToken,
  thumbprint,
  algorithms: ["ES256"],
  nowSeconds: 1_562_262_618,
  maxAgeSeconds: 60,
  toleranceSeconds: 5,
};

async function causeFor(text: string, more: Partial<ExpectedProof> = {}): Promise<string> {
  const result = await verifyProof(text, { ...asked, ...more });
  return "cause" in result ? result.cause : "verified";
}

describe("RFC 9449, examples of DPoP", () => {
  it("figures 4 and 14: the header of the proofs is that of the RFC", () => {
    expect(JSON.parse(Buffer.from(header, "base64url").toString())).to.deep.equal({
      typ: "dpop+jwt",
      alg: "ES256",
      jwk,
    });
  });

  it("7.1: the ath of figure 14 is the hash of the access token of figure 13", () => {
    expect(accessTokenHash(accessToken)).to.equal("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
  });

  it("figure 13: the proof for a protected resource verifies, bound to the key of figure 9", async () => {
    expect(await verifyProof(proof.resource, asked)).to.deep.equal({
      jti: "e1j3V_bKic8-LAEB",
      thumbprint,
      issuedAt: 1_562_262_618,
      nonce: undefined,
    });
  });

  describe("figure 13 is refused by 4.3:", () => {
    const cases: readonly (readonly [string, Partial<ExpectedProof>, string])[] = [
      ["8, another method", { method: "POST" }, "the proof is for another method"],
      ["9, another path", { uri: `${asked.uri}s` }, "the proof is for another URI"],
      ["9, another host", { uri: "https://server.example.com/protectedresource" }, "the proof is for another URI"],
      ["9, another scheme", { uri: asked.uri.replace("https", "http") }, "the proof is for another URI"],
      ["11, long after", { nowSeconds: asked.nowSeconds + 66 }, "the proof is too old"],
      ["11, long before", { nowSeconds: asked.nowSeconds - 6 }, "the iat of the proof is in the future"],
      ["12, another access token", { accessToken: "another" }, "the proof is for another access token"],
      [
        "12, a token bound to another key",
        { thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" },
        "the key of the proof is not the one that the token is bound to",
      ],
      ["5, an algorithm that is not accepted", { algorithms: ["PS256"] }, "the algorithm of the proof is not allowed"],
    ];
    for (const [name, more, cause] of cases) {
      it(name, async () => {
        expect(await causeFor(proof.resource, more)).to.equal(cause);
      });
    }

    it("1, two proofs in the header field", async () => {
      expect(await causeFor(`${proof.resource}, ${proof.resource}`)).to.equal("the proof is not one compact JWS");
    });

    it("6, a signature that is not the key's", async () => {
      const other = proof.token.split(".")[2] ?? "";
      const [, payload] = proof.resource.split(".");
      expect(await causeFor(`${header}.${payload}.${other}`)).to.equal("the signature of the proof does not verify");
    });
  });

  it("figure 13 is accepted where 4.3 asks for leniency: query, fragment, case of the host, default port", async () => {
    for (const uri of [`${asked.uri}?page=2`, `${asked.uri}#x`, asked.uri.replace("resource.", "RESOURCE."), "default"])
      expect(
        await causeFor(proof.resource, { uri: uri === "default" ? asked.uri.replace(".org/", ".org:443/") : uri }),
      ).to.equal("verified");
  });

  describe("figures 2 and 7, for the token endpoint,", () => {
    const atTokenEndpoint = { method: "POST", uri: "https://server.example.com/token" };

    it("are no proofs for a protected resource: they have no ath (4.3, 12)", async () => {
      for (const [text, now] of [
        [proof.token, 1_562_262_616],
        [proof.refresh, 1_562_265_296],
      ] as const)
        expect(await causeFor(text, { ...atTokenEndpoint, nowSeconds: now })).to.equal(
          "the proof is for another access token",
        );
    });

    it("are signed by the key", async () => {
      const keys = createPublicKeys("key", [jwk], ["ES256"]);
      for (const text of [proof.token, proof.refresh, proof.resource])
        expect(await payloadSignedBy(keys, text)).to.include("jti");
    });

    it("are for nothing else than the token endpoint", async () => {
      expect(await causeFor(proof.token)).to.equal("the proof is for another method");
      expect(await causeFor(proof.token, { method: "POST" })).to.equal("the proof is for another URI");
    });
  });

  describe("the access token of figure 9", () => {
    const claims = { aud: testAudience, sub: "someone@example.com", cnf: { jkt: thumbprint } };

    it("is not accepted as a Bearer token (7.2)", async () => {
      const gate = openGate({ auth: testAuth });
      const { status, problem } = await refuse(gate, withClaims({ ...claims, nbf: nowSeconds() - 5 }));
      expect({ status, code: problem.code }).to.deep.equal({ status: 401, code: "token_invalid" });
      await gate.close();
    });
  });

  describe("with a nonce (8, figure 21),", () => {
    it("the proof contains the nonce of the server", async () => {
      const client = await createDpopClient();
      const text = await client.proof({
        jti: "-BwC3ESc6acc2lTc",
        htm: "POST",
        htu: "https://server.example.com/token",
        iat: 1_562_262_616,
        ath: accessTokenHash(accessToken),
        nonce: "eyJ7S_zG.eyJH0-Z.HX4w-7v",
      });
      expect(
        await verifyProof(text, {
          ...{ ...asked, method: "POST", uri: "https://server.example.com/token" },
          thumbprint: client.thumbprint,
        }),
      ).to.have.property("nonce", "eyJ7S_zG.eyJH0-Z.HX4w-7v");
    });
  });
});
