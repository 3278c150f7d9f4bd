import { constants, createSign } from "node:crypto";
import type { GateName, HostileToken } from "./hostile.js";
import type { Signer } from "./mint.js";
import { bytes32, claimsWith, ec, ed, eddsa, es256, forge, hs256, p256Order, rs256, rsa, split } from "./mint.js";

const half = Buffer.alloc(32);
const one = bytes32(1n);
const order = bytes32(p256Order);
const field = bytes32(0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn);

/** CVE-2022-21449 and its neighbours: values that a missing range check takes for a signature of anything. */
const psychic: readonly (readonly [string, Buffer])[] = [
  ["r = 0, s = 0", Buffer.concat([half, half])],
  ["r = 0, s = 1", Buffer.concat([half, one])],
  ["r = 1, s = 0", Buffer.concat([one, half])],
  ["r = 1, s = 1", Buffer.concat([one, one])],
  ["r = n, s = n", Buffer.concat([order, order])],
  ["r = n, s = 0", Buffer.concat([order, half])],
  ["r = n, s = 1", Buffer.concat([order, one])],
  ["r = n - 1, s = n - 1", Buffer.concat([bytes32(p256Order - 1n), bytes32(p256Order - 1n)])],
  ["r = n + 1, s = 1", Buffer.concat([bytes32(p256Order + 1n), one])],
  ["r = p, s = p", Buffer.concat([field, field])],
  ["all bits", Buffer.alloc(64, 255)],
  ["zero in DER", Buffer.from("3006020100020100", "hex")],
];

/** Points of small order (RFC 7748 7): with s = 0 they fit every message of a key that is one of them. */
const smallOrder: readonly string[] = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
];

const psychicRows = [
  ...psychic.map(([name, signature]): HostileToken => row("ec", `an ECDSA signature of ${name}`, () => signature)),
  ...smallOrder.map((point): HostileToken =>
    row("ed", `an EdDSA signature of the small point ${point.slice(0, 4)}...${point.slice(-2)}`, () =>
      Buffer.concat([Buffer.from(point, "hex"), half]),
    ),
  ),
];

const lengthRows: readonly HostileToken[] = [
  row("ec", "an ECDSA signature in DER", (input) => createSign("sha256").update(input).sign(ec.privateKey)),
  row("ec", "an ECDSA signature of 63 bytes", (input) => bytes(es256(ec), input).subarray(0, 63)),
  row("ec", "an ECDSA signature of 63 bytes, without the first", (input) => bytes(es256(ec), input).subarray(1)),
  row("ec", "an ECDSA signature of 65 bytes", (input) => Buffer.concat([bytes(es256(ec), input), one.subarray(31)])),
  row("ec", "an ECDSA signature after a zero", (input) => Buffer.concat([half.subarray(31), bytes(es256(ec), input)])),
  row("ec", "an ECDSA signature of one byte", () => Buffer.alloc(1)),
  row("ec", "an ECDSA signature with r and s exchanged", (input) => swap(bytes(es256(ec), input))),
  row("ec", "an ECDSA signature of 96 bytes, as for P-384", () => Buffer.alloc(96, 1)),
  row("rsa", "an RSA signature of zeros", () => Buffer.alloc(256)),
  row("rsa", "an RSA signature of one", () => Buffer.concat([Buffer.alloc(255), one.subarray(31)])),
  row("rsa", "an RSA signature without its first byte", (input) => bytes(rs256(rsa), input).subarray(1)),
  row("rsa", "an RSA signature without its last byte", (input) => bytes(rs256(rsa), input).subarray(0, 255)),
  row("rsa", "an RSA signature and a byte", (input) => Buffer.concat([bytes(rs256(rsa), input), one.subarray(31)])),
  row("rsa", "an RSA signature with PSS padding", (input) =>
    createSign("sha256")
      .update(input)
      .sign({ key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
  ),
  row("ed", "an EdDSA signature of zeros", () => Buffer.alloc(64)),
  row("ed", "an EdDSA signature of the identity", () => Buffer.concat([Buffer.of(1), Buffer.alloc(63)])),
  row("ed", "an EdDSA signature with s + L", (input) => addGroupOrder(bytes(eddsa(ed), input))),
  row("ed", "an EdDSA signature of 63 bytes", (input) => bytes(eddsa(ed), input).subarray(0, 63)),
  row("secret", "half an HMAC", (input) => bytes(hs256, input).subarray(0, 16)),
  row("secret", "an HMAC without its last byte", (input) => bytes(hs256, input).subarray(0, 31)),
  row("secret", "an HMAC and a byte", (input) => Buffer.concat([bytes(hs256, input), half.subarray(31)])),
  row("secret", "an HMAC with one bit changed", (input) => flip(bytes(hs256, input))),
  row("secret", "an HMAC in hex", (input) => bytes(hs256, input).toString("hex")),
];

function row(gate: GateName, name: string, signer: Signer): HostileToken {
  const alg = { secret: "HS256", rsa: "RS256", ec: "ES256", ed: "EdDSA", jwks: "RS256" }[gate];
  return { name, gate, make: () => forge({ alg }, claimsWith(), signer) };
}

function bytes(signer: Signer, input: string): Buffer {
  return Buffer.from(signer(input) as Buffer);
}

function swap(signature: Buffer): Buffer {
  return Buffer.concat([signature.subarray(32), signature.subarray(0, 32)]);
}

function flip(signature: Buffer): Buffer {
  signature[0] = (signature[0] ?? 0) ^ 1;
  return signature;
}

/** RFC 8032 8.4: s must be below the order of the group, or each signature has a second spelling. */
function addGroupOrder(signature: Buffer): Buffer {
  const order25519 = 2n ** 252n + 27742317777372353535851937790883648493n;
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString("hex")}`) + order25519;
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse()]);
}

/** Texts that lenient decoders take for the same token. */
const respellings: readonly (readonly [string, (token: string) => string])[] = [
  ["padding after the signature", (token) => `${token}=`],
  ["padding after the payload", (token) => token.replace(/\.([^.]*)$/, "=.$1")],
  ["a dot at the end", (token) => `${token}.`],
  ["a dot at the start", (token) => `.${token}`],
  ["two dots in the middle", (token) => token.replace(".", "..")],
  ["a newline in the signature", (token) => `${token.slice(0, -5)}\n${token.slice(-5)}`],
  ["a blank in the signature", (token) => `${token.slice(0, -5)} ${token.slice(-5)}`],
  ["a tab in the payload", (token) => token.replace(".", ".\t")],
  ["a NUL at the end", (token) => `${token}\0`],
  ["a byte order mark after the header", (token) => token.replace(".", ".\ufeff")],
  ["percent-encoding", (token) => token.replace(/.$/, (last) => `%${last.charCodeAt(0).toString(16)}`)],
  [
    "the alphabet of base64",
    (token) => `${split(token).input}.${Buffer.from(split(token).signature, "base64url").toString("base64")}`,
  ],
  ["a last character that differs only in spare bits", respellLast],
  ["one more character at the end", (token) => `${token}A`],
  ["a wide letter", (token) => token.replace("e", "\uff45")],
  ["quotes", (token) => `"${token}"`],
  ["itself twice", (token) => `${token}, ${token}`],
  ["a fourth part", (token) => `${token}.${split(token).signature}`],
  ["the five parts of a JWE", (token) => `${token}.AAAA.AAAA`],
  ["only two parts", (token) => split(token).input],
];

function respellLast(token: string): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return token.slice(0, -1) + (alphabet[alphabet.indexOf(token.slice(-1)) ^ 1] ?? "");
}

const respelledRows = respellings.map(([name, respell]): HostileToken => ({
  name: `a good token with ${name}`,
  gate: "secret",
  make: () => respell(forge({ alg: "HS256" }, claimsWith(), hs256)),
}));

/** What was signed is not what is said. */
const tamperedRows: readonly HostileToken[] = [
  tampered("another payload under the same signature", ([header, , signature]) => [
    header,
    encode(claimsWith({ sub: "root" })),
    signature,
  ]),
  tampered("another header under the same signature", ([, payload, signature]) => [
    encode({ alg: "HS256", typ: "JWT" }),
    payload,
    signature,
  ]),
  tampered("the signature of another token", ([header, payload]) => {
    const other = split(forge({ alg: "HS256" }, claimsWith(), hs256));
    return [header, payload, other.signature];
  }),
  tampered("header and payload exchanged", ([header, payload, signature]) => [payload, header, signature]),
  tampered("the payload in upper case", ([header, payload, signature]) => [header, payload.toUpperCase(), signature]),
];

function tampered(name: string, change: (parts: [string, string, string]) => [string, string, string]): HostileToken {
  return {
    name,
    gate: "secret",
    make: () => change(forge({ alg: "HS256" }, claimsWith(), hs256).split(".") as [string, string, string]).join("."),
  };
}

function encode(part: unknown): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}

export const hostileSignatures: Readonly<Record<string, readonly HostileToken[]>> = {
  "a signature that fits everything": psychicRows,
  "a signature of a wrong form": lengthRows,
  "another spelling of a good token": respelledRows,
  "what was not signed": tamperedRows,
};
