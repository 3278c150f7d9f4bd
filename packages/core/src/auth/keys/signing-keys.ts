import { KeyObject, createPrivateKey, createPublicKey, createSecretKey } from "node:crypto";
import type { JsonWebKey } from "node:crypto";
import { SignJWT } from "jose";
import type { JSONWebKeySet, JWK, JWTPayload } from "jose";
import { isList, kindOf, optionError, rangeError } from "../../lib/validate.js";
import { algorithmsOf, asymmetricAlgorithms, hmacAlgorithms } from "./algorithms.js";
import { refusePublicKey } from "./secret-keys.js";
import { jwkThumbprint } from "./public-keys.js";

/**
 * A key that signs tokens: a private key as PEM, JWK or KeyObject, or an HMAC secret as text, bytes, JWK or KeyObject.
 * In a list, the keys after the first may be public keys, which are retired but still verify.
 */
export type SigningKeyOption = string | Uint8Array | JWK | KeyObject;

/** The keys of an issuer: the first signs, all verify. */
export interface SigningKeys {
  readonly algorithms: readonly string[];
  /** The public keys to publish; undefined for HMAC secrets. */
  readonly published: JSONWebKeySet | undefined;
  /** The HMAC secrets; undefined for key pairs. */
  readonly secrets: readonly KeyObject[] | undefined;
  /** The secret bytes of each key, from which other keys are derived. */
  readonly material: readonly Buffer[];
  /** Signs a compact JWT with the first key; `typ` is `at+jwt` (RFC 9068). */
  sign(claims: JWTPayload): Promise<string>;
}

/** Creates the signing keys of an issuer. A key that cannot sign or verify is an error at start-up. */
export function createSigningKeys(option: string, given: unknown, algorithm: unknown): SigningKeys {
  if (given === undefined)
    throw optionError(option, "is required: a private key (PEM, JWK or KeyObject), an HMAC secret, or a list of them");
  const list: readonly unknown[] = isList(given) ? given : [given];
  if (list.length === 0) throw optionError(option, "must not be an empty list");
  const keys = list.map((one, index) => readKey(list.length === 1 ? option : `${option}[${index}]`, one));
  const [first] = keys as [ReadKey];
  if (keys.some(({ key }) => (key.type === "secret") !== (first.key.type === "secret")))
    throw optionError(option, "mixes HMAC secrets and key pairs; a list is of one kind");
  return first.key.type === "secret" ? secretKeys(option, keys, algorithm) : keyPairs(option, keys, algorithm);
}

interface ReadKey {
  readonly name: string;
  readonly key: KeyObject;
  /** Key id of a JWK. */
  readonly kid: string | undefined;
  readonly alg: string | undefined;
}

function secretKeys(option: string, keys: readonly ReadKey[], given: unknown): SigningKeys {
  const algorithm = given ?? keys[0]?.alg ?? "HS256";
  const minBytes = typeof algorithm === "string" ? hmacAlgorithms[algorithm] : undefined;
  if (minBytes === undefined || typeof algorithm !== "string")
    throw optionError("tokens.algorithm", `must be one of ${Object.keys(hmacAlgorithms).join(", ")} for a secret`);
  for (const { name, key } of keys) {
    const { symmetricKeySize = 0 } = key;
    if (symmetricKeySize < minBytes)
      throw rangeError(
        name,
        `must be at least ${minBytes} bytes for ${algorithm}, not ${symmetricKeySize} (RFC 7518 3.2)`,
      );
    refusePublicKey(name, key.export());
  }
  const secrets = keys.map(({ key }) => key);
  return {
    algorithms: [algorithm],
    published: undefined,
    secrets,
    material: secrets.map((secret) => secret.export()),
    sign: signer(secrets[0] as KeyObject, { alg: algorithm, typ: "at+jwt" }),
  };
}

function keyPairs(option: string, keys: readonly ReadKey[], given: unknown): SigningKeys {
  if (given !== undefined && (typeof given !== "string" || !asymmetricAlgorithms.includes(given)))
    throw optionError("tokens.algorithm", `must be one of ${asymmetricAlgorithms.join(", ")} for a private key`);
  const { key: first } = keys[0] as ReadKey;
  if (first.type !== "private")
    throw optionError(option, "must begin with a private key or a secret: the first of a list signs");
  const published = keys.map(({ name, key, kid, alg }) => {
    const open = key.type === "private" ? createPublicKey(key) : key;
    const fitting = algorithmsOf(name, open);
    const algorithm = [alg, given, ...fitting].find(
      (one): one is string => typeof one === "string" && fitting.includes(one),
    );
    if (algorithm === undefined || (alg !== undefined && alg !== algorithm))
      throw optionError(name, "must be an RSA or Ed25519 key, or an elliptic-curve key on P-256, P-384 or P-521");
    const members = open.export({ format: "jwk" }) as JWK;
    return { ...members, kid: kid ?? jwkThumbprint(members), alg: algorithm, use: "sig" };
  });
  const [signing] = published;
  if (signing === undefined) throw optionError(option, "must not be an empty list");
  const { kid, alg } = signing;
  if (given !== undefined && alg !== given)
    throw optionError("tokens.algorithm", `does not fit ${option}, which can ${alg}`);
  if (new Set(published.map((one) => one.kid)).size < published.length)
    throw optionError(option, "has two keys of one kid");
  const privateKeys = keys.map(({ key }) => key).filter(({ type }) => type === "private");
  return {
    algorithms: [...new Set(published.map((one) => one.alg))],
    published: { keys: published },
    secrets: undefined,
    material: privateKeys.map((key) => key.export({ format: "der", type: "pkcs8" })),
    sign: signer(first, { alg, typ: "at+jwt", kid }),
  };
}

function signer(key: KeyObject, header: { alg: string; typ: string; kid?: string }): SigningKeys["sign"] {
  return function sign(claims) {
    return new SignJWT(claims).setProtectedHeader(header).sign(key);
  };
}

function readKey(name: string, given: unknown): ReadKey {
  if (given instanceof KeyObject) return { name, key: given, kid: undefined, alg: undefined };
  if (typeof given === "string" && given.includes("-----BEGIN")) return { ...readPem(name, given) };
  if (typeof given === "string" || given instanceof Uint8Array) {
    const bytes = Buffer.from(given as string);
    return { name, key: createSecretKey(bytes), kid: undefined, alg: undefined };
  }
  if (typeof given !== "object" || given === null)
    throw optionError(name, `must be a PEM, a JWK, a KeyObject or an HMAC secret, not ${kindOf(given)}`);
  const { kty, d, k, kid, alg } = given as JWK;
  if ((kid !== undefined && typeof kid !== "string") || (alg !== undefined && typeof alg !== "string"))
    throw optionError(name, "has a kid or an alg that is not a string");
  try {
    if (kty === "oct") return { name, key: createSecretKey(Buffer.from(k ?? "", "base64url")), kid, alg };
    const input = { key: given as JsonWebKey, format: "jwk" } as const;
    return { name, key: d === undefined ? createPublicKey(input) : createPrivateKey(input), kid, alg };
  } catch {
    // The message of OpenSSL may quote the key.
    throw optionError(name, "is not a readable JWK");
  }
}

function readPem(name: string, pem: string): ReadKey {
  try {
    const key = pem.includes("PRIVATE KEY") ? createPrivateKey(pem) : createPublicKey(pem);
    return { name, key, kid: undefined, alg: undefined };
  } catch {
    throw optionError(name, "is not a readable PEM; a private key must not be encrypted");
  }
}
