import { createHash, randomUUID } from "node:crypto";
import { SignJWT, calculateJwkThumbprint, exportJWK, generateKeyPair } from "jose";
import type { CryptoKey, JWK } from "jose";
import { nowSeconds } from "./tokens.js";

/** A client that binds its tokens to a key (RFC 9449). */
export interface DpopClient {
  readonly publicJwk: JWK;
  readonly privateKey: CryptoKey;
  /** Member `jkt` of claim `cnf` of a token bound to the key. */
  readonly thumbprint: string;
  /**
   * Signs a proof issued now. Given claims and header parameters override the defaults; one given as undefined is left out. Pass
   * `htm`, `htu`, and `ath` from {@link accessTokenHash}.
   */
  proof(claims: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>;
}

export async function createDpopClient(algorithm = "ES256"): Promise<DpopClient> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
  const publicJwk = await exportJWK(publicKey);
  return {
    publicJwk,
    privateKey,
    thumbprint: await calculateJwkThumbprint(publicJwk),
    proof: (claims, header = {}) =>
      new SignJWT({ jti: randomUUID(), iat: nowSeconds(), ...claims })
        .setProtectedHeader({ typ: "dpop+jwt", alg: algorithm, jwk: publicJwk, ...header })
        .sign(privateKey),
  };
}

/** Claim `ath` of a proof for this access token. */
export function accessTokenHash(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}
