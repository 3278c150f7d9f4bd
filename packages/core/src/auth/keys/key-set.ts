import { createPublicKey } from "node:crypto";
import type { JsonWebKey, KeyObject } from "node:crypto";
import { createLocalJWKSet, errors } from "jose";
import type { JSONWebKeySet, JWK, JWTHeaderParameters } from "jose";
import { optionError } from "../../lib/validate.js";
import { algorithmsOf } from "./algorithms.js";
import { FetchFailure } from "./fetch-json.js";
import type { CandidateKey, KeySource } from "./key-source.js";
import { fixedSource } from "./key-source.js";
import { privateKeyError, refuseUnused } from "./public-keys.js";

/** Creates a source of keys from a fixed JSON Web Key Set (RFC 7517 5) of public keys. `kid` and `alg` of a token choose the key. */
export function createKeySet(option: string, jwks: JSONWebKeySet, algorithms: readonly string[]): KeySource {
  const select = keySelector(option, jwks, algorithms);
  if (jwks.keys.length === 0) throw optionError(option, "has no keys");
  const name = (index: number): string => (jwks.keys.length === 1 ? option : `${option}[${index}]`);
  const candidates = jwks.keys.flatMap((jwk, index) => usableKey(name(index), jwk, algorithms));
  refuseUnused(option, algorithms, candidates);
  return fixedSource(async (header) => (await select(header)) ?? []);
}

/**
 * Reads a member of a fixed set. Keys of other kinds and uses are left out (RFC 7517 5). A private or a weak key is an error.
 */
function usableKey(option: string, jwk: JWK, algorithms: readonly string[]): CandidateKey[] {
  if (jwk.kty !== "oct" && "d" in jwk) throw privateKeyError(option);
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

/** Chooses keys of a set; undefined if no key has the `kid`, which a newer set may have. */
export type KeySelector = (header: JWTHeaderParameters) => Promise<readonly CandidateKey[] | undefined>;

/** Maximum number of keys tried for a token without `kid`. With more, a forged token would cost too many checks. */
const maxTried = 10;

function keySelector(option: string, jwks: unknown, algorithms: readonly string[]): KeySelector {
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
      // Without kid several keys may fit.
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      const keys: CandidateKey[] = [];
      for await (const key of error) {
        if (keys.length === maxTried) return [];
        keys.push({ key, algorithms });
      }
      return keys;
    }
  };
}

/** A fetched key set: the keys that can verify, and the problems of the others. */
export interface FetchedKeys {
  /** Undefined if no key of the set can verify. */
  readonly select: KeySelector | undefined;
  /** Equal for sets with the same keys, whatever their order and further members. */
  readonly fingerprint: string;
  /** Problems of keys that must not be in a set, for logs. */
  readonly problems: readonly string[];
  /** May a token with this header be signed by a key that was left out? */
  mayBeRefused(header: JWTHeaderParameters): boolean;
}

type FetchedKey = Readonly<Record<string, unknown>>;

/** Members of a public JWK that verification needs (RFC 7518 6, RFC 8037 2). Others are ignored. */
const usedMembers = ["kty", "kid", "alg", "crv", "x", "y", "n", "e"];

/**
 * Reads a fetched key set. Keys that cannot verify are left out (RFC 7517 5); the others verify.
 *
 * @throws FetchFailure if it is not a key set
 */
export function readKeySet(document: unknown, algorithms: readonly string[]): FetchedKeys {
  const keys = (document as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys)) throw new FetchFailure("the answer is not a JSON Web Key Set");
  const usable: FetchedKey[] = [];
  const refusedKids: unknown[] = [];
  const complaints = new Set<string>();
  for (const jwk of keys as readonly unknown[]) {
    const problem = problemOf(jwk, algorithms);
    if (problem === undefined) {
      usable.push(pick(jwk as object));
      continue;
    }
    if (problem !== foreign) complaints.add(problem);
    refusedKids.push((jwk as { kid?: unknown } | null)?.kid);
  }
  return {
    select: usable.length === 0 ? undefined : keySelector("the fetched key set", { keys: usable }, algorithms),
    fingerprint: usable
      .map((jwk) => JSON.stringify(jwk))
      .toSorted()
      .join(),
    problems: [...complaints],
    mayBeRefused: ({ kid }) => refusedKids.length > 0 && (kid === undefined || refusedKids.includes(kid)),
  };
}

/** A key for another purpose, which is not a problem of the set. */
const foreign = "a key of another kind or use";

/** The reason why a key cannot verify; undefined if it can. */
function problemOf(jwk: unknown, algorithms: readonly string[]): string | undefined {
  if (typeof jwk !== "object" || jwk === null) return "what is not a key";
  const { kty, use, key_ops: operations, alg } = jwk as FetchedKey;
  if (kty === "oct") return "a symmetric key, which anybody can read there";
  if (kty !== "RSA" && kty !== "EC" && kty !== "OKP") return foreign;
  if (Object.hasOwn(jwk, "d")) return "a private key, which anybody can read there";
  if (use !== undefined && use !== "sig") return foreign;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) return foreign;
  let key: KeyObject;
  try {
    key = createPublicKey({ key: pick(jwk), format: "jwk" });
  } catch {
    return kty === "RSA" ? "a damaged key" : foreign;
  }
  let fitting: readonly string[];
  try {
    fitting = algorithmsOf("the key", key);
  } catch {
    return "an RSA key that is too weak (RFC 7518 3.3 requires 2048 bits)";
  }
  return fitting.some((one) => algorithms.includes(one) && (alg ?? one) === one) ? undefined : foreign;
}

function pick(jwk: object): FetchedKey {
  return Object.fromEntries(Object.entries(jwk).filter(([name]) => usedMembers.includes(name)));
}
