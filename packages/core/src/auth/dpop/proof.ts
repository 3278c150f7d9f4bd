import { createHash } from "node:crypto";
import { compactVerify, decodeJwt, decodeProtectedHeader, importJWK } from "jose";
import type { JWK, JWTPayload, ProtectedHeaderParameters } from "jose";
import type { DenialDetail, DescribeDenial } from "../../http/denial-detail.js";
import { kindFound, originFound, quoted, quotedList, plainFound, timeFound } from "../../http/denial-detail.js";
import { isCanonical, isCompactJws, maxCompactLength } from "../access-token.js";
import { isTime } from "../claims.js";
import { asymmetricAlgorithms } from "../keys/algorithms.js";
import { identifyingMembers, jwkThumbprint } from "../keys/public-keys.js";

/** The request that a proof must fit, and the rules for proofs. */
export interface ExpectedProof {
  readonly method: string;
  /** Absolute, from option `publicUrl` and the path of the request; query and fragment do not matter. */
  readonly uri: string;
  readonly accessToken: string;
  /** The key that the access token is bound to: its claim `cnf.jkt`. */
  readonly thumbprint: string;
  /** Accepted signature algorithms. Symmetric ones are never accepted. */
  readonly algorithms: readonly string[];
  /** Unix seconds. */
  readonly nowSeconds: number;
  readonly maxAgeSeconds: number;
  /** Tolerated clock difference in seconds. */
  readonly toleranceSeconds: number;
}

/** A valid proof, before the replay check and the check of its nonce. */
export interface VerifiedProof {
  readonly jti: string;
  readonly thumbprint: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  readonly nonce: string | undefined;
}

export interface ProofRefusal {
  /** A fixed phrase for logs. */
  readonly cause: string;
  readonly detail?: DescribeDenial;
  /** Is the refusal by the clock of this process? */
  readonly isUntimely?: true;
}

interface ProofKey {
  readonly algorithm: string;
  readonly jwk: JWK;
}

const maxJtiBytes = 512;
/** Maximum modulus (4096 bits) and exponent (32 bits) of an RSA key in base64url. Larger keys take long to verify with. */
const maxModulusLength = 683;
const maxExponentLength = 6;
/** Members of private and symmetric keys (RFC 7518 6.2.2, 6.3.2, 6.4.1). */
const secretMembers = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/**
 * Verifies one DPoP proof (RFC 9449 4.3), without replay check and nonce. Cheap checks come first and the signature last, so
 * that a proof for another request is refused cheaply.
 */
export async function verifyProof(proof: string, expected: ExpectedProof): Promise<VerifiedProof | ProofRefusal> {
  if (proof.length > maxCompactLength) return refusal("the proof is longer than 8192 characters");
  if (!isCompactJws(proof)) return refusal("the proof is not one compact JWS");
  if (!isCanonical(proof)) return refusal("the signature of the proof is not in canonical base64url");
  const parts = decode(proof);
  if (parts === undefined) return refusal("the proof is not a JWT");
  const key = readKey(parts.header, expected);
  if ("cause" in key) return key;
  const verified = readClaims(parts.claims, expected);
  if ("cause" in verified) return verified;
  if (jwkThumbprint(key.jwk) !== expected.thumbprint)
    return refusal("the key of the proof is not the one that the token is bound to");
  return (await isSignedBy(key, proof)) ? verified : refusal("the signature of the proof does not verify");
}

function decode(proof: string): { header: ProtectedHeaderParameters; claims: JWTPayload } | undefined {
  try {
    return { header: decodeProtectedHeader(proof), claims: decodeJwt(proof) };
  } catch {
    return undefined;
  }
}

function readKey(header: ProtectedHeaderParameters, { algorithms }: ExpectedProof): ProofKey | ProofRefusal {
  const { typ, alg, crit, b64 } = header;
  const jwk: unknown = header.jwk;
  if (typeof typ !== "string" || !/^(?:application\/)?dpop\+jwt$/i.test(typ))
    return refusal("the typ of the proof is not dpop+jwt", () => ({ header: "typ", found: plainFound(typ) }));
  if (crit !== undefined || b64 !== undefined) return refusal("the proof has a critical header");
  if (typeof alg !== "string" || !asymmetricAlgorithms.includes(alg) || !algorithms.includes(alg))
    return refusal("the algorithm of the proof is not allowed", () => ({
      header: "alg",
      expected: quotedList(algorithms),
      found: plainFound(alg),
    }));
  if (typeof jwk !== "object" || jwk === null || Array.isArray(jwk)) return refusal("the proof has no key");
  if (secretMembers.some((member) => member in jwk)) return refusal("the key of the proof is not a public key");
  const { kty, use, alg: meantFor } = jwk as JWK;
  if (kty !== "EC" && kty !== "RSA" && kty !== "OKP") return refusal("the key of the proof is not a public key");
  if ((use !== undefined && use !== "sig") || (meantFor !== undefined && meantFor !== alg))
    return refusal("the key of the proof is not for signatures of this algorithm");
  if (kty === "RSA" && isCostly(jwk)) return refusal("the key of the proof is too large");
  return { algorithm: alg, jwk: identifyingMembers(jwk) };
}

function isCostly({ n, e }: JWK): boolean {
  return (
    (typeof n === "string" && n.length > maxModulusLength) || (typeof e === "string" && e.length > maxExponentLength)
  );
}

function readClaims(claims: JWTPayload, expected: ExpectedProof): VerifiedProof | ProofRefusal {
  const { jti, iat, exp, nbf, htm, htu, ath, nonce } = claims;
  const { nowSeconds, maxAgeSeconds, toleranceSeconds, thumbprint } = expected;
  if (typeof jti !== "string" || jti === "" || Buffer.byteLength(jti) > maxJtiBytes)
    return refusal("the jti of the proof is not a text of 1 to 512 bytes");
  if (htm !== expected.method)
    return refusal("the proof is for another method", () => ({
      claim: "htm",
      expected: quoted(expected.method),
      found: plainFound(htm),
    }));
  const uri = typeof htu === "string" ? normalizeTargetUri(htu) : undefined;
  if (uri === undefined || uri !== normalizeTargetUri(expected.uri))
    return refusal("the proof is for another URI", () => describeUri(htu, uri, expected.uri));
  if (ath !== hashOf(expected.accessToken))
    return refusal("the proof is for another access token", () => ({ claim: "ath", found: kindFound(ath) }));
  if (!isTime(iat))
    return refusal("the iat of the proof is not a time", () => ({ claim: "iat", found: kindFound(iat) }));
  // RFC 9449 does not require exp and nbf. If present, they hold (RFC 7519 4.1.4, 4.1.5).
  if (exp !== undefined && !isTime(exp)) return refusal("the proof is expired");
  if (nbf !== undefined && !isTime(nbf)) return refusal("the proof is not valid yet");
  if (nonce !== undefined && typeof nonce !== "string") return refusal("the nonce of the proof is not a text");
  if (iat < nowSeconds - maxAgeSeconds - toleranceSeconds)
    return untimely("the proof is too old", () => describeTime("iat", iat, expected));
  if (iat > nowSeconds + toleranceSeconds)
    return untimely("the iat of the proof is in the future", () => describeTime("iat", iat, expected));
  if (exp !== undefined && exp <= nowSeconds - toleranceSeconds)
    return untimely("the proof is expired", () => describeTime("exp", exp, expected));
  if (nbf !== undefined && nbf > nowSeconds + toleranceSeconds)
    return untimely("the proof is not valid yet", () => describeTime("nbf", nbf, expected));
  return { jti, thumbprint, issuedAt: iat, nonce };
}

/** Characters that a URL parser drops, turns or encodes, so that two texts would become one URL. */
const odd = /[^\x21-\x7e]|\\/;
const notPercentEncoded = /%(?![0-9a-f]{2})/i;
const unreserved = /[A-Za-z0-9._~-]/;

/**
 * Normalises an http(s) URI for the comparison of RFC 9449 4.3: by syntax and scheme (RFC 3986 6.2.2, 6.2.3), without query
 * and fragment. Undefined for a text that is not such a URI.
 */
function normalizeTargetUri(text: string): string | undefined {
  if (odd.test(text) || notPercentEncoded.test(text) || !/^https?:\/\/[^/?#]/i.test(text)) return undefined;
  const decoded = text.replace(/%[0-9a-f]{2}/gi, normalizeEncoding);
  if (!URL.canParse(decoded)) return undefined;
  const { protocol, host, pathname, username, password } = new URL(decoded);
  return username === "" && password === "" ? `${protocol}//${host}${pathname}` : undefined;
}

/** Decodes unreserved characters and writes the digits of others in upper case. */
function normalizeEncoding(triplet: string): string {
  const character = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
  return unreserved.test(character) ? character : triplet.toUpperCase();
}

/** False also for a key that is weak or cannot be imported: the holder chose it. */
async function isSignedBy({ algorithm, jwk }: ProofKey, proof: string): Promise<boolean> {
  try {
    await compactVerify(proof, await importJWK(jwk, algorithm), { algorithms: [algorithm] });
    return true;
  } catch {
    return false;
  }
}

/** base64url of SHA-256 of the token's ASCII: the claim `ath` (RFC 9449 4.2). */
function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}

function refusal(cause: string, detail?: DescribeDenial): ProofRefusal {
  return detail === undefined ? { cause } : { cause, detail };
}

function untimely(cause: string, detail: DescribeDenial): ProofRefusal {
  return { cause, detail, isUntimely: true };
}

function describeTime(
  claim: "iat" | "exp" | "nbf",
  time: unknown,
  { nowSeconds, maxAgeSeconds, toleranceSeconds }: ExpectedProof,
): DenialDetail {
  const expected = `within ${maxAgeSeconds} s and a tolerance of ${toleranceSeconds} s`;
  return { claim, expected: claim === "iat" ? expected : undefined, found: timeFound(time, nowSeconds) };
}

/** The origin shows a wrong `publicUrl`. Paths may name users. */
function describeUri(htu: unknown, uri: string | undefined, expected: string): DenialDetail {
  const { origin } = new URL(expected);
  if (uri === undefined) return { claim: "htu", expected: `a URI at ${origin}`, found: kindFound(htu) };
  const found = new URL(uri).origin;
  const isSame = found === origin;
  return {
    claim: "htu",
    expected: isSame ? `the path of the request, at ${origin}` : `a URI at ${origin}, by publicUrl`,
    found: isSame ? "another path" : `a URI at ${originFound(found)}`,
  };
}
