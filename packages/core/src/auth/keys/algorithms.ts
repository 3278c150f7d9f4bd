import type { KeyObject } from "node:crypto";
import { rangeError } from "../../lib/validate.js";

/** Algorithms with a shared secret: HMAC with SHA-2 (RFC 7518 3.2). */
export type HmacAlgorithm = "HS256" | "HS384" | "HS512";

/** Algorithms with a key pair: RSA, ECDSA and EdDSA (RFC 7518 3.3 to 3.5, RFC 8037, RFC 9864). */
export type AsymmetricAlgorithm =
  "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" | "ES256" | "ES384" | "ES512" | "EdDSA" | "Ed25519";

/** The signature algorithms of tokens (RFC 7518 3.1, RFC 8037, RFC 9864). `none` is not among them. */
export type JwsAlgorithm = HmacAlgorithm | AsymmetricAlgorithm;

/** HMAC algorithms and the minimum length of their secrets in bytes (RFC 7518 3.2). */
export const hmacAlgorithms: Readonly<Record<string, number>> = { HS256: 32, HS384: 48, HS512: 64 };

const rsaAlgorithms: readonly AsymmetricAlgorithm[] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const curveNames: readonly AsymmetricAlgorithm[] = ["ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
export const asymmetricAlgorithms: readonly string[] = [...rsaAlgorithms, ...curveNames];

const curveAlgorithms: Readonly<Record<string, string>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};

/** Returns the algorithms that fit a public key (RFC 7518 3.1, RFC 8037, RFC 9864); none for a key of another kind. */
export function algorithmsOf(option: string, key: KeyObject): readonly string[] {
  const { modulusLength = 0, publicExponent = 0n, namedCurve = "" } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa":
    case "rsa-pss": {
      if (modulusLength < 2048)
        throw rangeError(option, `must have at least 2048 bits, not ${modulusLength} (RFC 7518 3.3)`);
      // With the exponent 1 anybody can sign.
      if (publicExponent < 3n) throw rangeError(option, "must have an exponent of at least 3 (RFC 8017 3.1)");
      const all = asymmetricAlgorithms.slice(0, 6);
      return key.asymmetricKeyType === "rsa" ? all : all.slice(3);
    }
    case "ec": {
      const algorithm = curveAlgorithms[namedCurve];
      return algorithm === undefined ? [] : [algorithm];
    }
    case "ed25519":
      return ["EdDSA", "Ed25519"];
    default:
      return [];
  }
}
