import { KeyObject, createPublicKey } from "node:crypto";
import { createLocalJWKSet, errors } from "jose";
import type { JsonWebKey } from "node:crypto";
import type { CryptoKey, JSONWebKeySet, JWK, JWTHeaderParameters } from "jose";
import { kindOf, optionError, rangeError } from "../../lib/validate.js";

/** A key that may verify a token, with the algorithms it may do that by. */
export interface CandidateKey {
  readonly key: KeyObject | CryptoKey;
  readonly algorithms: readonly string[];
}

/** Where keys come from. */
export interface KeySource {
  /**
   * The keys a token with this (unverified) header may be signed with; none if no key fits.
   * Rejects with {@link KeysUnavailable} if there are no keys to choose from.
   */
  candidates(header: JWTHeaderParameters): readonly CandidateKey[] | Promise<readonly CandidateKey[]>;
  /** Grows whenever the keys change: what an older key verified must be verified again. */
  version(): number;
  /** `down` while no key has ever been loaded. */
  status(): "up" | "down";
  close(): void;
}

/** There are no keys to verify with: an outage of the identity provider, not a fault of the token. */
export class KeysUnavailable extends Error {
  override readonly name = "KeysUnavailable";
  readonly code = "keys_unavailable";
}

export const asymmetricAlgorithms: readonly string[] = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

export type PublicKeyOption = string | JWK | KeyObject;

/** Public keys of RSA (2048 bits at least), elliptic curves and Ed25519. Several rotate: each may verify. */
export function createPublicKeys(
  option: string,
  keys: readonly PublicKeyOption[],
  algorithms: readonly string[],
): KeySource {
  const candidates = keys.map((given, index): CandidateKey => {
    const name = keys.length === 1 ? option : `${option}[${index}]`;
    const key = publicKey(name, given);
    const fitting = algorithmsOf(name, key).filter((algorithm) => isMeantFor(name, given, algorithm));
    if (fitting.length === 0)
      throw optionError(
        name,
        "must be an RSA or Ed25519 key, or an elliptic-curve key on P-256, P-384 or P-521, and a JWK's alg must fit it",
      );
    const usable = algorithms.filter((algorithm) => fitting.includes(algorithm));
    if (usable.length === 0) {
      throw optionError(
        "auth.algorithms",
        `has only ${algorithms.join(", ")}, but ${name} can verify ${fitting.join(", ")}`,
      );
    }
    return { key, algorithms: usable };
  });
  refuseUnused(option, algorithms, candidates);
  return fixedKeys(candidates);
}

/** A JWK may say itself what it is for (RFC 7517 4.2 to 4.4), and is then used for nothing else. */
function isMeantFor(option: string, given: PublicKeyOption, algorithm: string): boolean {
  if (typeof given === "string" || given instanceof KeyObject) return true;
  const { use, alg, key_ops: operations } = given;
  if ((use !== undefined && use !== "sig") || (operations !== undefined && !operations.includes("verify")))
    throw optionError(option, "is a JWK that is not for verifying, by its use or key_ops");
  return alg === undefined || alg === algorithm;
}

function refuseUnused(option: string, algorithms: readonly string[], candidates: readonly CandidateKey[]): void {
  const unused = algorithms.find(
    (algorithm) => !candidates.some((candidate) => candidate.algorithms.includes(algorithm)),
  );
  if (unused !== undefined)
    throw optionError("auth.algorithms", `has "${unused}", which no key in ${option} can verify`);
}

function publicKey(option: string, given: unknown): KeyObject {
  if (given instanceof KeyObject) {
    if (given.type === "secret") throw optionError(option, "is a secret key; pass it as auth.secret");
    if (given.type === "private") throw privateKey(option);
    return given;
  }
  if (typeof given === "string" && given.includes("PRIVATE KEY")) throw privateKey(option);
  if (typeof given === "object" && given !== null && "d" in given) throw privateKey(option);
  try {
    if (typeof given === "string") return createPublicKey(given);
    if (typeof given === "object" && given !== null)
      return createPublicKey({ key: given as JsonWebKey, format: "jwk" });
  } catch {
    // What OpenSSL says may quote the key.
    throw optionError(option, "is not a readable public key; pass a PEM (SPKI), a JWK or a KeyObject");
  }
  throw optionError(option, `must be a PEM, a JWK or a KeyObject, not ${kindOf(given)}`);
}

/** A service that only verifies has no use for a private key, and could lose it. */
function privateKey(option: string): TypeError {
  return optionError(option, "is a private key; pass the public key that belongs to it");
}

const curveAlgorithms: Readonly<Record<string, string>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};

/** The algorithms that fit a public key (RFC 7518 3.1, RFC 8037, RFC 9864); none for a key of another kind. */
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

function fixedKeys(keys: readonly CandidateKey[]): KeySource {
  return {
    candidates: ({ alg }) => keys.filter(({ algorithms }) => algorithms.includes(alg)),
    version: () => 0,
    status: () => "up",
    close() {
      return;
    },
  };
}

/** A fixed JSON Web Key Set (RFC 7517 5) of public keys; the header's `kid` and `alg` choose. */
export function createKeySet(option: string, jwks: JSONWebKeySet, algorithms: readonly string[]): KeySource {
  const select = keySelector(option, jwks, algorithms);
  if (jwks.keys.length === 0) throw optionError(option, "has no keys");
  const name = (index: number): string => (jwks.keys.length === 1 ? option : `${option}[${index}]`);
  const candidates = jwks.keys.flatMap((jwk, index) => usableKey(name(index), jwk, algorithms));
  refuseUnused(option, algorithms, candidates);
  return {
    candidates: async (header) => (await select(header)) ?? [],
    version: () => 0,
    status: () => "up",
    close() {
      return;
    },
  };
}

/**
 * A member of a set as a key, or none: a set may hold kinds of keys and uses that are of no use here (RFC 7517 5). What
 * must not be there at all, a private or a weak key, fails.
 */
function usableKey(option: string, jwk: JWK, algorithms: readonly string[]): CandidateKey[] {
  if (jwk.kty !== "oct" && "d" in jwk) throw privateKey(option);
  const { kty, use, alg, key_ops: operations } = jwk;
  const meantForThis =
    kty !== "oct" &&
    (use === undefined || use === "sig") &&
    (operations === undefined || operations.includes("verify")) &&
    (alg === undefined || algorithms.includes(alg));
  if (!meantForThis) return [];
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk as JsonWebKey, format: "jwk" });
  } catch {
    return [];
  }
  const fitting = algorithmsOf(option, key);
  return [
    {
      key,
      algorithms: algorithms.filter((algorithm) => fitting.includes(algorithm) && (alg ?? algorithm) === algorithm),
    },
  ];
}

/** Chooses from a key set; undefined if no key has that `kid`, which a newer set may. */
export type KeySelector = (header: JWTHeaderParameters) => Promise<readonly CandidateKey[] | undefined>;

/** Of keys that a token without `kid` may be signed with. With more, a forged token would cost too many checks. */
const mostTried = 10;

export function keySelector(option: string, jwks: unknown, algorithms: readonly string[]): KeySelector {
  let select: ReturnType<typeof createLocalJWKSet>;
  try {
    select = createLocalJWKSet(jwks as JSONWebKeySet);
  } catch {
    throw optionError(option, 'must be a JSON Web Key Set: {"keys": [...]}');
  }
  return async function selectKeys(header) {
    try {
      return [{ key: await select(header), algorithms }];
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return undefined;
      // Without a kid several keys may fit: each is tried.
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      const keys: CandidateKey[] = [];
      for await (const key of error) {
        if (keys.length === mostTried) return [];
        keys.push({ key, algorithms });
      }
      return keys;
    }
  };
}
