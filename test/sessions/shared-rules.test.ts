import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { accessTokenHash, nowSeconds, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import type { JWK } from "jose";
import { calculateJwkThumbprint } from "jose";
import { verifyProof } from "../../packages/core/src/auth/dpop/proof.js";
import { createSigningKeys } from "../../packages/core/src/auth/keys/signing-keys.js";
import { jwkThumbprint } from "../../packages/core/src/auth/keys/public-keys.js";
import { findCookies, serializeCookie } from "../../packages/core/src/http/cookies.js";
import { resolveThrottleLogin } from "../../packages/core/src/login/options.js";
import { createTokenCookies } from "../../packages/core/src/sessions/cookies.js";
import { resolveTokens } from "../../packages/core/src/sessions/options.js";
import { forge } from "../auth/support/mint.js";

const pairs = {
  RSA: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  EC: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  OKP: generateKeyPairSync("ed25519"),
};

describe("the thumbprint of a key", () => {
  for (const [kind, { publicKey, privateKey }] of Object.entries(pairs)) {
    it(`is the kid of a signing key, as jose computes it: ${kind}`, async () => {
      const jwk = publicKey.export({ format: "jwk" }) as JWK;
      const thumbprint = await calculateJwkThumbprint(jwk, "sha256");
      expect(jwkThumbprint(jwk)).to.equal(thumbprint);
      const pem = privateKey.export({ format: "pem", type: "pkcs8" }).toString();
      const [published] = createSigningKeys("tokens.signingKey", pem, undefined).published?.keys ?? [];
      expect(published?.kid).to.equal(thumbprint);
    });
  }

  it("binds a token to the key whose kid it is", async () => {
    const pem = pairs.OKP.privateKey.export({ format: "pem", type: "pkcs8" }).toString();
    const kid = createSigningKeys("tokens.signingKey", pem, undefined).published?.keys[0]?.kid ?? "";
    const now = nowSeconds();
    const header = { typ: "dpop+jwt", alg: "EdDSA", jwk: pairs.OKP.publicKey.export({ format: "jwk" }) };
    const claims = { jti: "a", htm: "GET", htu: "https://api.test/", ath: accessTokenHash("token"), iat: now };
    const proof = forge(header, claims, (input) => sign(null, Buffer.from(input), createPrivateKey(pem)));
    const verified = await verifyProof(proof, {
      ...{ method: "GET", uri: "https://api.test/", accessToken: "token", thumbprint: kid, algorithms: ["EdDSA"] },
      ...{ nowSeconds: now, maxAgeSeconds: 60, toleranceSeconds: 0 },
    });
    expect(verified).to.include({ jti: "a", thumbprint: kid });
  });

  it("of a key without its members is not that of a key", () => {
    const { kty } = pairs.RSA.publicKey.export({ format: "jwk" });
    expect(jwkThumbprint({ kty: kty ?? "" })).to.not.equal(
      jwkThumbprint(pairs.RSA.publicKey.export({ format: "jwk" })),
    );
  });
});

describe("a cookie", () => {
  const tokens = resolveTokens({ signingKey: testSecret, issuer: testIssuer, audience: "shop" });

  it("is read by one rule, whichever token it carries: quotes, blanks and empty values do not belong to it", () => {
    const cookies = createTokenCookies(tokens.cookies);
    for (const text of ["n=a", ' n = "a" ', "b=c; n=a", "n=; n=a"]) {
      expect(findCookies(text, "n"), text).to.deep.equal(["a"]);
      expect(cookies.readRefresh(text.replaceAll("n", "__Secure-refresh")), text).to.equal("a");
    }
    expect(cookies.readRefresh("__Secure-refresh=a; __Secure-refresh=a")).to.equal(undefined);
  });

  it("has a lifetime of whole seconds, and never a negative one", () => {
    const attributes = { path: "/", sameSite: "Lax", secure: false } as const;
    expect(serializeCookie("n", "a", { ...attributes, maxAgeSeconds: -1.5 })).to.match(
      /; Max-Age=0; HttpOnly; SameSite/,
    );
    expect(serializeCookie("n", "a", { ...attributes, maxAgeSeconds: 1.9 })).to.match(
      /; Max-Age=1; HttpOnly; SameSite/,
    );
  });

  for (const cookie of ["", "a b", "a;b", "a=b", "n".repeat(129), 1])
    it(`has a name that both options take, or neither: ${JSON.stringify(cookie).slice(0, 12)}`, () => {
      const name = cookie as string;
      const device = { secret: testSecret.repeat(2), cookie: name };
      const options = { signingKey: testSecret, issuer: testIssuer, audience: "shop", cookies: { refresh: name } };
      expect(() => resolveThrottleLogin({ account: () => "", device })).to.throw(/must be the name of a cookie/);
      expect(() => resolveTokens(options)).to.throw(/must be the name of a cookie/);
    });
});
