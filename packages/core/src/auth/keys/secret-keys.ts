import { KeyObject, X509Certificate, createPublicKey, createSecretKey, webcrypto } from "node:crypto";
import { kindOf, optionError, rangeError } from "../../lib/validate.js";
import { hmacAlgorithms } from "./algorithms.js";
import type { CandidateKey, KeySource } from "./key-source.js";
import { fixedSource } from "./key-source.js";

/** An HMAC secret: text, bytes, or a KeyObject. */
export type SecretOption = string | Uint8Array | KeyObject;

/** Creates a source of HMAC keys. A string stands for its UTF-8 bytes, not for base64. Each of several keys may verify. */
export function createSecretKeys(
  option: string,
  secrets: readonly SecretOption[],
  algorithms: readonly string[],
): KeySource {
  refusePublicAlgorithms(algorithms);
  const keys = secrets.map((secret, index) => secretKey(secrets.length === 1 ? option : `${option}[${index}]`, secret));
  const minBytes = Math.max(...algorithms.map((algorithm) => hmacAlgorithms[algorithm] ?? 0));
  for (const { symmetricKeySize = 0 } of keys) {
    if (symmetricKeySize < minBytes) {
      throw rangeError(
        option,
        `must be at least ${minBytes} bytes for ${algorithms.join(", ")}, not ${symmetricKeySize} (RFC 7518 3.2)`,
      );
    }
  }
  // Imported once for each algorithm: jose would import a KeyObject at every verification.
  const imported = new Map<string, Promise<readonly CandidateKey[]>>();
  return fixedSource(({ alg }) => {
    let candidates = imported.get(alg);
    if (candidates === undefined) {
      candidates = Promise.all(keys.map((key) => importHmacKey(key, alg)));
      imported.set(alg, candidates);
    }
    return candidates;
  });
}

/** Refuses algorithms that need a public key. */
export function refusePublicAlgorithms(algorithms: readonly string[]): void {
  const wrong = algorithms.find((algorithm) => !Object.hasOwn(hmacAlgorithms, algorithm));
  if (wrong === undefined) return;
  throw optionError("auth.algorithms", `has "${wrong}", which a secret cannot verify; use HS256, HS384 or HS512`);
}

async function importHmacKey(key: KeyObject, algorithm: string): Promise<CandidateKey> {
  const hash = `SHA-${algorithm.slice(2)}`;
  const imported = await webcrypto.subtle.importKey("raw", key.export(), { name: "HMAC", hash }, false, ["verify"]);
  return { key: imported, algorithms: [algorithm] };
}

function secretKey(option: string, secret: unknown): KeyObject {
  if (secret instanceof KeyObject) {
    if (secret.type !== "secret") throw optionError(option, `is a ${secret.type} key; pass it as auth.publicKey`);
    refusePublicKey(option, secret.export());
    return secret;
  }
  if (typeof secret !== "string" && !(secret instanceof Uint8Array)) {
    throw optionError(option, `must be a string, bytes or a secret KeyObject, not ${kindOf(secret)}`);
  }
  const bytes = Buffer.from(secret);
  refusePublicKey(option, bytes);
  return createSecretKey(bytes);
}

/** Refuses a public key as an HMAC secret: everybody who has the public key could sign. */
export function refusePublicKey(option: string, bytes: Buffer): void {
  const text = bytes.toString("utf8");
  const isText = /-----BEGIN [A-Z ]+-----|^\s*(?:ssh-|ecdsa-)/.test(text) || /^\s*\{[^]*"kty"\s*:/.test(text);
  // Some consoles, such as that of Keycloak, show a public key as base64 of its DER.
  if (!isText && !isDer(bytes) && !isDer(Buffer.from(text, "base64"))) return;
  throw optionError(
    option,
    "looks like a PEM, a JWK or another form of a public key, which anybody may know; pass it as auth.publicKey",
  );
}

function isDer(bytes: Buffer): boolean {
  // Every such structure is a SEQUENCE (X.690 8.9) of some length.
  if (bytes.length < 32 || bytes[0] !== 0x30) return false;
  return [
    () => createPublicKey({ key: bytes, format: "der", type: "spki" }),
    () => createPublicKey({ key: bytes, format: "der", type: "pkcs1" }),
    () => new X509Certificate(bytes),
  ].some(succeeds);
}

function succeeds(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
}
