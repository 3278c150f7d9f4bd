import { createSecretKey, generateKeyPairSync } from "node:crypto";
import { testSecret } from "@portcullis/testkit";
import { ec, rsa, weakRsa } from "../support/mint.js";
import type { AuthRow } from "../../support/option-error.js";
import { sources, testAuthRows } from "../../support/option-error.js";

const { publicKey, privateKey } = rsa;
const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
const jwk = publicKey.export({ format: "jwk" });
const { byKey, bySet, byUri } = sources;
const bom = "\ufeff";

const algorithms: readonly AuthRow[] = [
  ["none with a secret", { algorithms: undefined }, "auth.algorithms", 'required with secret, such as ["HS256"]'],
  [
    "none with a public key",
    { ...byKey, algorithms: undefined },
    "auth.algorithms",
    'required with publicKey, such as ["RS256"]',
  ],
  ["none with a key set", { ...bySet, algorithms: undefined }, "auth.algorithms", "required with jwks"],
  ["an empty list", { algorithms: [] }, "auth.algorithms", "empty list"],
  ["HMAC and RSA together", { algorithms: ["HS256", "RS256"] }, "auth.algorithms", /RS256.*HS256, HS384 or HS512/],
  ["RSA with a secret", { algorithms: ["RS256"] }, "auth.algorithms", "a secret cannot verify"],
  ["HMAC with a public key", { ...byKey, algorithms: ["HS256"] }, "auth.algorithms", "needs auth.secret"],
  [
    "HMAC beside RSA with a public key",
    { ...byKey, algorithms: ["RS256", "HS256"] },
    "auth.algorithms",
    "never verify HMAC",
  ],
  ["HMAC with a key set", { ...bySet, algorithms: ["HS256"] }, "auth.algorithms", "never verify HMAC"],
  ["HMAC with an address of keys", { ...byUri, algorithms: ["HS256"] }, "auth.algorithms", "never verify HMAC"],
  [
    "HMAC with discovery",
    { secret: undefined, issuer: "http://127.0.0.1:9", algorithms: ["HS512"] },
    "auth.algorithms",
    "never verify HMAC",
  ],
  ...["hs256", "HS256 ", "none", "None", "HS1", "", "dir", "RSA", "ES256K", "HS256,HS384"].map((name): AuthRow => [
    `an unknown one: "${name}"`,
    { algorithms: [name] },
    "auth.algorithms",
    name === "" ? "non-empty" : "unknown algorithm; known are HS256",
  ]),
  ...["toString", "__proto__"].map((name): AuthRow => [
    `a name of Object's prototype: ${name}`,
    { algorithms: ["HS256", name] },
    "auth.algorithms",
    "unknown algorithm",
  ]),
  ["none among good ones", { algorithms: ["HS256", "none"] }, "auth.algorithms", "unknown algorithm"],
  ["a number", { algorithms: [256] }, "auth.algorithms", "non-empty string"],
  ["null", { algorithms: null }, "auth.algorithms", "not null"],
  ["one that does not fit the key", { ...byKey, algorithms: ["ES256"] }, "auth.algorithms", "RS256, RS384"],
  ["one more than the key fits", { ...byKey, algorithms: ["RS256", "ES256"] }, "auth.algorithms", '"ES256"'],
  [
    "one that fits another curve",
    { ...byKey, publicKey: ec.publicKey, algorithms: ["ES384"] },
    "auth.algorithms",
    "ES256",
  ],
  ["one that fits no key of the set", { ...bySet, algorithms: ["ES256"] }, "auth.algorithms", "ES256"],
];

const der = publicKey.export({ type: "spki", format: "der" });
const pkcs1 = publicKey.export({ type: "pkcs1", format: "der" });

/** What people paste for a secret, and what anybody may know. */
const publicSecrets: readonly AuthRow[] = (
  [
    ["DER", der],
    ["PKCS #1 DER", pkcs1],
    ["base64 of DER, as consoles show it", der.toString("base64")],
    ["base64 of PKCS #1 DER", pkcs1.toString("base64")],
    ["base64url of DER", der.toString("base64url")],
    ["base64 of DER in lines", (der.toString("base64").match(/.{1,64}/g) ?? []).join("\n")],
    ["base64 of an elliptic-curve key", ec.publicKey.export({ type: "spki", format: "der" }).toString("base64")],
    ["an SSH public key", `ssh-rsa ${der.toString("base64")} alice@example.com`],
    ["a key set", JSON.stringify({ keys: [jwk] })],
  ] as const
).map(([name, secret]) => [`a public key as ${name}`, { secret }, "auth.secret", "pass it as auth.publicKey"]);

const pinned: readonly AuthRow[] = [
  [
    "a JWK for another algorithm",
    { ...byKey, publicKey: { ...jwk, alg: "PS256" }, algorithms: ["RS256"] },
    "auth.algorithms",
    "can verify PS256",
  ],
  [
    "a JWK whose alg cannot be",
    { ...byKey, publicKey: { ...jwk, alg: "ES256" }, algorithms: ["RS256"] },
    "auth.publicKey",
    "a JWK's alg must fit it",
  ],
  ["a JWK to encrypt to", { ...byKey, publicKey: { ...jwk, use: "enc" } }, "auth.publicKey", "not for verifying"],
  [
    "a JWK with other operations",
    { ...byKey, publicKey: { ...jwk, key_ops: ["encrypt"] } },
    "auth.publicKey",
    "not for verifying",
  ],
  [
    "an RSA key with which anybody can sign",
    { ...byKey, publicKey: { ...jwk, e: "AQ" } },
    "auth.publicKey",
    "an exponent of at least 3",
  ],
  [
    "such a key in a set",
    { ...bySet, jwks: { keys: [{ ...jwk, e: "AQ" }] } },
    "auth.jwks",
    "an exponent of at least 3",
  ],
];

const secrets: readonly AuthRow[] = [
  ["31 bytes for HS256", { secret: "s".repeat(31) }, "auth.secret", "at least 32 bytes for HS256, not 31"],
  [
    "47 bytes for HS384",
    { secret: "s".repeat(47), algorithms: ["HS384"] },
    "auth.secret",
    "at least 48 bytes for HS384, not 47",
  ],
  [
    "63 bytes for HS512",
    { secret: "s".repeat(63), algorithms: ["HS512"] },
    "auth.secret",
    "at least 64 bytes for HS512, not 63",
  ],
  [
    "32 bytes for HS256 and HS512",
    { secret: "s".repeat(32), algorithms: ["HS256", "HS512"] },
    "auth.secret",
    "at least 64 bytes",
  ],
  ["an empty one", { secret: "" }, "auth.secret", "at least 32 bytes"],
  ["16 characters of 2 bytes less one", { secret: "\u00e4".repeat(15) }, "auth.secret", "not 30"],
  ["a short Buffer", { secret: Buffer.alloc(31) }, "auth.secret", "at least 32 bytes"],
  ["a short KeyObject", { secret: createSecretKey(Buffer.alloc(8)) }, "auth.secret", "at least 32 bytes"],
  ["an old one that is short", { secret: [testSecret, "old"] }, "auth.secret", "at least 32 bytes"],
  ["no secret in the list", { secret: [] }, "auth.secret", "empty list"],
  ["undefined in the list", { secret: [testSecret, undefined] }, "auth.secret[1]", "not undefined"],
  ["null", { secret: null }, "auth.secret", "not null"],
  ["a number", { secret: 12_345 }, "auth.secret", "not number"],
  ["an object", { secret: { k: testSecret } }, "auth.secret", "not an object"],
  ["PEM", { secret: pem }, "auth.secret", "auth.publicKey"],
  ["PEM with CRLF", { secret: pem.replaceAll("\n", "\r\n") }, "auth.secret", "auth.publicKey"],
  ["PEM as a Buffer", { secret: Buffer.from(pem) }, "auth.secret", "auth.publicKey"],
  ["PEM as a Uint8Array", { secret: new TextEncoder().encode(pem) }, "auth.secret", "auth.publicKey"],
  ["PEM inside a KeyObject", { secret: createSecretKey(Buffer.from(pem)) }, "auth.secret", "auth.publicKey"],
  ["PEM after blank lines", { secret: `\n \n${pem}` }, "auth.secret", "auth.publicKey"],
  ["PEM after a byte order mark", { secret: bom + pem }, "auth.secret", "auth.publicKey"],
  ["PKCS #1 PEM", { secret: publicKey.export({ type: "pkcs1", format: "pem" }) }, "auth.secret", "auth.publicKey"],
  ["a private PEM", { secret: privateKey.export({ type: "pkcs8", format: "pem" }) }, "auth.secret", "PEM"],
  ["an EC private PEM", { secret: ec.privateKey.export({ type: "sec1", format: "pem" }) }, "auth.secret", "PEM"],
  ["PEM as the old one", { secret: [testSecret, pem] }, "auth.secret[1]", "auth.publicKey"],
  ["a JWK", { secret: JSON.stringify(jwk) }, "auth.secret", "JWK"],
  ["a JWK, indented", { secret: JSON.stringify(jwk, null, 2) }, "auth.secret", "JWK"],
  ["a JWK with kty last", { secret: JSON.stringify({ n: jwk.n, e: jwk.e, kty: "RSA" }) }, "auth.secret", "JWK"],
  ["a JWK after a byte order mark", { secret: bom + JSON.stringify(jwk) }, "auth.secret", "JWK"],
  ["a JWK set", { secret: JSON.stringify({ keys: [jwk] }) }, "auth.secret", "JWK"],
  ["a JWK as bytes", { secret: Buffer.from(JSON.stringify(jwk)) }, "auth.secret", "JWK"],
  ["a public KeyObject", { secret: publicKey }, "auth.secret", "pass it as auth.publicKey"],
  ["a private KeyObject", { secret: privateKey }, "auth.secret", "private key"],
];

const publicKeys: readonly AuthRow[] = [
  [
    "a text that is no PEM",
    { ...byKey, publicKey: "ssh-rsa AAAA" },
    "auth.publicKey",
    "PEM (SPKI), a JWK or a KeyObject",
  ],
  ["a PEM cut short", { ...byKey, publicKey: pem.slice(0, 200) }, "auth.publicKey", "not a readable public key"],
  ["an empty text", { ...byKey, publicKey: "" }, "auth.publicKey", "not a readable public key"],
  [
    "a JWK without n",
    { ...byKey, publicKey: { kty: "RSA", e: "AQAB" } },
    "auth.publicKey",
    "not a readable public key",
  ],
  ["an oct JWK", { ...byKey, publicKey: { kty: "oct", k: "AAAA" } }, "auth.publicKey", "not a readable public key"],
  ["an empty object", { ...byKey, publicKey: {} }, "auth.publicKey", "not a readable public key"],
  ["a number", { ...byKey, publicKey: 5 }, "auth.publicKey", "not number"],
  ["null", { ...byKey, publicKey: null }, "auth.publicKey", "not null"],
  ["an empty list", { ...byKey, publicKey: [] }, "auth.publicKey", "empty list"],
  ["a bad one in a list", { ...byKey, publicKey: [pem, "x"] }, "auth.publicKey[1]", "not a readable public key"],
  [
    "a secret KeyObject",
    { ...byKey, publicKey: createSecretKey(Buffer.alloc(64)) },
    "auth.publicKey",
    "pass it as auth.secret",
  ],
  ["RSA of 1024 bits", { ...byKey, publicKey: weakRsa.publicKey }, "auth.publicKey", "at least 2048 bits, not 1024"],
  [
    "RSA of 1024 bits in a list",
    { ...byKey, publicKey: [publicKey, weakRsa.publicKey] },
    "auth.publicKey[1]",
    "at least 2048 bits",
  ],
  [
    "a curve that JWT has not",
    { ...byKey, publicKey: curve("secp256k1"), algorithms: ["ES256"] },
    "auth.publicKey",
    "P-256, P-384 or P-521",
  ],
  ["P-384 for ES256", { ...byKey, publicKey: curve("P-384"), algorithms: ["ES256"] }, "auth.algorithms", "ES384"],
  [
    "X25519",
    { ...byKey, publicKey: generateKeyPairSync("x25519").publicKey, algorithms: ["EdDSA"] },
    "auth.publicKey",
    "Ed25519",
  ],
  [
    "Ed448",
    { ...byKey, publicKey: generateKeyPairSync("ed448").publicKey, algorithms: ["EdDSA"] },
    "auth.publicKey",
    "Ed25519",
  ],
];

const keySets: readonly AuthRow[] = [
  ...[null, 5, "https://id.test/jwks", [], {}, { keys: {} }, { keys: [5] }, [jwk]].map((jwks): AuthRow => [
    JSON.stringify(jwks).slice(0, 40),
    { ...bySet, jwks },
    "auth.jwks",
    '{"keys": [...]}',
  ]),
  ["no keys", { ...bySet, jwks: { keys: [] } }, "auth.jwks", ""],
  [
    "RSA of 1024 bits",
    { ...bySet, jwks: { keys: [weakRsa.publicKey.export({ format: "jwk" })] } },
    "auth.jwks",
    "2048",
  ],
  ["a private key", { ...bySet, jwks: { keys: [privateKey.export({ format: "jwk" })] } }, "auth.jwks", ""],
];

function curve(namedCurve: string): unknown {
  return generateKeyPairSync("ec", { namedCurve }).publicKey;
}

const tables = {
  "list of algorithms": algorithms,
  secret: [...secrets, ...publicSecrets],
  "public key": [...publicKeys, ...pinned],
  "key set": keySets,
};

for (const [name, rows] of Object.entries(tables)) {
  describe(`a wrong ${name} of auth fails at start-up`, () => testAuthRows(rows));
}
