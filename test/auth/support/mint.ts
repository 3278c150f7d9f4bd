import { createHmac, createSign, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import type { BinaryLike, KeyObject } from "node:crypto";
import { nowSeconds, testAudience, testIssuer, testSecret } from "@portcullis/testkit";

export const rsa: KeyPair = generateKeyPairSync("rsa", { modulusLength: 2048 });
export const secondRsa: KeyPair = generateKeyPairSync("rsa", { modulusLength: 2048 });
export const attackerRsa: KeyPair = generateKeyPairSync("rsa", { modulusLength: 2048 });
export const weakRsa: KeyPair = generateKeyPairSync("rsa", { modulusLength: 1024 });
export const ec: KeyPair = generateKeyPairSync("ec", { namedCurve: "P-256" });
export const attackerEc: KeyPair = generateKeyPairSync("ec", { namedCurve: "P-256" });
export const ed: KeyPair = generateKeyPairSync("ed25519");
export const attackerEd: KeyPair = generateKeyPairSync("ed25519");

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** Turns a signing input into the bytes, or the text, of a signature. */
export type Signer = (input: string) => Buffer | string;

export function hmac(hash: "sha256" | "sha384" | "sha512", secret: BinaryLike): Signer {
  return (input) => createHmac(hash, secret).update(input).digest();
}

export const hs256: Signer = hmac("sha256", testSecret);

export function rs256({ privateKey }: KeyPair): Signer {
  return (input) => createSign("sha256").update(input).sign(privateKey);
}

export function es256({ privateKey }: KeyPair): Signer {
  return (input) => createSign("sha256").update(input).sign({ key: privateKey, dsaEncoding: "ieee-p1363" });
}

export function eddsa({ privateKey }: KeyPair): Signer {
  return (input) => sign(null, Buffer.from(input), privateKey);
}

/** The claims of a good token; those given override, those given as undefined are left out. */
export function claimsWith(claims: Record<string, unknown> = {}): Record<string, unknown> {
  const iat = nowSeconds();
  return { iss: testIssuer, aud: testAudience, sub: "alice", jti: randomUUID(), iat, exp: iat + 300, ...claims };
}

/** A compact token of any header and payload, objects or raw text, as no library would make it. */
export function forge(header: unknown, payload: unknown, signer: Signer): string {
  const input = `${encodePart(header)}.${encodePart(payload)}`;
  const signature = signer(input);
  return `${input}.${typeof signature === "string" ? signature : signature.toString("base64url")}`;
}

/** A token that is good but for these claims. */
export function withClaims(claims: Record<string, unknown>): string {
  return forge({ alg: "HS256" }, claimsWith(claims), hs256);
}

/** A token that is good but for this header. */
export function withHeader(header: unknown): string {
  return forge(header, claimsWith(), hs256);
}

/** A good payload with raw JSON members at its end: duplicates, and numbers that JavaScript cannot write. */
export function withRawMembers(members: string): string {
  return forge({ alg: "HS256" }, `${JSON.stringify(claimsWith()).slice(0, -1)},${members}}`, hs256);
}

/** The good claims without these, with raw JSON members at the end. */
export function withRawClaim(name: string, json: string): string {
  return forge(
    { alg: "HS256" },
    `${JSON.stringify(claimsWith({ [name]: undefined })).slice(0, -1)},${JSON.stringify(name)}:${json}}`,
    hs256,
  );
}

function encodePart(part: unknown): string {
  return Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
}

/** A token's signing input and signature. */
export function split(token: string): { input: string; signature: string } {
  const dot = token.lastIndexOf(".");
  return { input: token.slice(0, dot), signature: token.slice(dot + 1) };
}

/** The order of the curve P-256. */
export const p256Order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

export function bytes32(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, "0"), "hex");
}

/** A JSON value as the name of a test. */
export function show(value: unknown): string {
  return value === undefined ? "missing" : JSON.stringify(value);
}
