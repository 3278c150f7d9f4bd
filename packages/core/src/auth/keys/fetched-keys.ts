import { createPublicKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import type { JWTHeaderParameters } from "jose";
import { FetchFailure } from "./fetch-json.js";
import { algorithmsOf, keySelector } from "./key-source.js";
import type { KeySelector } from "./key-source.js";

/** What of a fetched key set verifies, and what does not. */
export interface FetchedKeys {
  /** Undefined if no key of the set can verify. */
  readonly select: KeySelector | undefined;
  /** Equal for sets that verify the same, whatever their order and further members. */
  readonly fingerprint: string;
  /** What is wrong with keys that should not be in a set at all, as it may be logged. */
  readonly complaints: readonly string[];
  /** May a token with this header be signed with one of the keys that were left out? */
  mayBeRefused(header: JWTHeaderParameters): boolean;
}

type FetchedKey = Readonly<Record<string, unknown>>;

/** The members of a public JWK that verifying needs once it may (RFC 7518 6, RFC 8037 2). Others may say anything. */
const usedMembers = ["kty", "kid", "alg", "crv", "x", "y", "n", "e"];

/**
 * Reads a key set that somebody else made. A set may hold what is of no use here (RFC 7517 5), and what is of no use to
 * anybody: such keys are left out, and the others verify.
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
    const flaw = flawOf(jwk, algorithms);
    if (flaw === undefined) {
      usable.push(pick(jwk as object));
      continue;
    }
    if (flaw !== foreign) complaints.add(flaw);
    refusedKids.push((jwk as { kid?: unknown } | null)?.kid);
  }
  return {
    select: usable.length === 0 ? undefined : keySelector("the fetched key set", { keys: usable }, algorithms),
    fingerprint: usable
      .map((jwk) => JSON.stringify(jwk))
      .toSorted()
      .join(),
    complaints: [...complaints],
    mayBeRefused: ({ kid }) => refusedKids.length > 0 && (kid === undefined || refusedKids.includes(kid)),
  };
}

/** Not meant for this: no flaw of the set. */
const foreign = "a key of another kind or use";

/** Why a key of a set cannot verify; undefined if it can. */
function flawOf(jwk: unknown, algorithms: readonly string[]): string | undefined {
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
    return "an RSA key that is too weak (RFC 7518 3.3 asks for 2048 bits)";
  }
  return fitting.some((one) => algorithms.includes(one) && (alg ?? one) === one) ? undefined : foreign;
}

function pick(jwk: object): FetchedKey {
  return Object.fromEntries(Object.entries(jwk).filter(([name]) => usedMembers.includes(name)));
}
