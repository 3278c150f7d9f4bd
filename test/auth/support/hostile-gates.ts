import { testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import type { Denied } from "../../../packages/core/src/index.js";
import type { FakeOptions } from "../../support/fake-gate.js";
import type { GateName } from "./hostile.js";
import { claimsWith, ec, ed, eddsa, es256, forge, hs256, rs256, rsa, secondRsa } from "./mint.js";
import type { KeyPair } from "./mint.js";

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

/** The `auth` options of a gate of each kind. */
export const hostileGates: Readonly<Record<GateName, NonNullable<FakeOptions["auth"]>>> = {
  secret: testAuth,
  rsa: { ...common, publicKey: rsa.publicKey, algorithms: ["RS256"] },
  ec: { ...common, publicKey: ec.publicKey, algorithms: ["ES256"] },
  ed: { ...common, publicKey: ed.publicKey, algorithms: ["EdDSA"] },
  jwks: { ...common, jwks, algorithms: ["RS256", "ES256"] },
};

/** One good token for each gate, by the right key. */
export const goodTokens: Readonly<Record<GateName, () => string>> = {
  secret: () => forge({ alg: "HS256" }, claimsWith(), hs256),
  rsa: () => forge({ alg: "RS256" }, claimsWith(), rs256(rsa)),
  ec: () => forge({ alg: "ES256" }, claimsWith(), es256(ec)),
  ed: () => forge({ alg: "EdDSA" }, claimsWith(), eddsa(ed)),
  jwks: () => forge({ alg: "RS256", kid: "rsa-2" }, claimsWith(), rs256(secondRsa)),
};

const body =
  '{"type":"about:blank","title":"Unauthorized","status":401,' +
  '"detail":"The access token is not valid","code":"token_invalid"}';

/** The answer that every refusal of a bad token must have, byte for byte. */
export const refusalOfBadTokens: Pick<Denied, "status" | "body" | "headers"> = {
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
