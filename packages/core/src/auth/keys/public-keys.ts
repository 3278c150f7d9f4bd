import { KeyObject, createPublicKey, createHash } from "node:crypto";
import type { JsonWebKey } from "node:crypto";
import type { JWK } from "jose";
import { kindOf, optionError } from "../../lib/validate.js";
import { algorithmsOf } from "./algorithms.js";
import type { CandidateKey, KeySource } from "./key-source.js";
import { fixedSource } from "./key-source.js";

/** A public key: PEM text, a JWK, or a KeyObject. */
export type PublicKeyOption = string | JWK | KeyObject;

/** Creates a source of fixed public keys: RSA (at least 2048 bits), elliptic curves, Ed25519. Each of several keys may verify. */
export function createPublicKeys(
  option: string,
  keys: readonly PublicKeyOption[],
  algorithms: readonly string[],
): KeySource {
  const candidates = readPublicKeys(option, keys, algorithms);
  refuseUnused(option, algorithms, candidates);
  return sourceOf(candidates);
}

/** The same for the keys of one issuer among several: another may need the algorithms that none of these keys can verify. */
export function createSomePublicKeys(
  option: string,
  keys: readonly PublicKeyOption[],
  algorithms: readonly string[],
): KeySource {
  return sourceOf(readPublicKeys(option, keys, algorithms));
}

function sourceOf(candidates: readonly CandidateKey[]): KeySource {
  return fixedSource(({ alg }) => candidates.filter((candidate) => candidate.algorithms.includes(alg)));
}

function readPublicKeys(
  option: string,
  keys: readonly PublicKeyOption[],
  algorithms: readonly string[],
): readonly CandidateKey[] {
  return keys.map((given, index): CandidateKey => {
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
}

/** A JWK may restrict its use (RFC 7517 4.2 to 4.4). */
function isMeantFor(option: string, given: PublicKeyOption, algorithm: string): boolean {
  if (typeof given === "string" || given instanceof KeyObject) return true;
  const { use, alg, key_ops: operations } = given;
  if ((use !== undefined && use !== "sig") || (operations !== undefined && !operations.includes("verify")))
    throw optionError(option, "is a JWK that is not for verifying, by its use or key_ops");
  return alg === undefined || alg === algorithm;
}

/** An algorithm that no key can verify is a mistake. */
export function refuseUnused(option: string, algorithms: readonly string[], candidates: readonly CandidateKey[]): void {
  const unused = algorithms.find(
    (algorithm) => !candidates.some((candidate) => candidate.algorithms.includes(algorithm)),
  );
  if (unused !== undefined)
    throw optionError("auth.algorithms", `has "${unused}", which no key in ${option} can verify`);
}

function publicKey(option: string, given: unknown): KeyObject {
  if (given instanceof KeyObject) {
    if (given.type === "secret") throw optionError(option, "is a secret key; pass it as auth.secret");
    if (given.type === "private") throw privateKeyError(option);
    return given;
  }
  if (typeof given === "string" && given.includes("PRIVATE KEY")) throw privateKeyError(option);
  if (typeof given === "object" && given !== null && "d" in given) throw privateKeyError(option);
  try {
    if (typeof given === "string") return createPublicKey(given);
    if (typeof given === "object" && given !== null)
      return createPublicKey({ key: given as JsonWebKey, format: "jwk" });
  } catch {
    // The message of OpenSSL may quote the key.
    throw optionError(option, "is not a readable public key; pass a PEM (SPKI), a JWK or a KeyObject");
  }
  throw optionError(option, `must be a PEM, a JWK or a KeyObject, not ${kindOf(given)}`);
}

/** A service that only verifies does not need the private key, and could leak it. */
export function privateKeyError(option: string): TypeError {
  return optionError(option, "is a private key; pass the public key that belongs to it");
}

/** The members that say which public key it is, in their lexicographic order (RFC 7638 3.2), and no others. */
export function identifyingMembers({ kty, crv, x, y, n, e }: JWK): JWK {
  const members = kty === "RSA" ? { e, kty, n } : kty === "EC" ? { crv, kty, x, y } : { crv, kty, x };
  return members as JWK;
}

/** The thumbprint of a public key: base64url of SHA-256 (RFC 7638 3). */
export function jwkThumbprint(key: JWK): string {
  return createHash("sha256")
    .update(JSON.stringify(identifyingMembers(key)))
    .digest("base64url");
}
