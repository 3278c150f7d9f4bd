import type { KeyObject } from "node:crypto";
import { testSecret } from "@portcullis/testkit";
import type { HostileToken } from "./hostile.js";
import { attackerEc, attackerRsa, claimsWith, ec, ed, es256, forge, hmac, hs256, rs256, rsa } from "./mint.js";

/** Every text or bytes in which somebody may hold a public key, and so might try as an HMAC secret. */
function spellings(key: KeyObject): readonly (readonly [string, string | Buffer])[] {
  const pem = key.export({ type: "spki", format: "pem" }).toString();
  const der = key.export({ type: "spki", format: "der" });
  const jwk = key.export({ format: "jwk" });
  const point = jwk.kty === "EC" ? Buffer.concat([Buffer.of(4), decode(jwk.x), decode(jwk.y)]) : decode(jwk.n ?? jwk.x);
  return [
    ["PEM", pem],
    ["PEM without the last newline", pem.trimEnd()],
    ["PEM with two newlines", `${pem}\n`],
    ["PEM with CRLF", pem.replaceAll("\n", "\r\n")],
    ["PEM in one line", pem.replaceAll("\n", "")],
    ["PEM with literal \\n", pem.replaceAll("\n", "\\n")],
    ["the PEM's base64 alone", pem.replaceAll(/-----[^-]+-----|\n/g, "")],
    ["DER", der],
    ["DER as base64url", der.toString("base64url")],
    ["DER as hex", der.toString("hex")],
    ["JWK", JSON.stringify(jwk)],
    ["JWK, indented", JSON.stringify(jwk, null, 2)],
    ["JWK set", JSON.stringify({ keys: [jwk] })],
    ["the bare numbers", point],
    ["the bare numbers as base64url", point.toString("base64url")],
    ...(jwk.kty === "RSA" ? pkcs1(key) : []),
  ];
}

function pkcs1(key: KeyObject): readonly (readonly [string, string | Buffer])[] {
  return [
    ["PKCS #1 PEM", key.export({ type: "pkcs1", format: "pem" })],
    ["PKCS #1 PEM without the last newline", key.export({ type: "pkcs1", format: "pem" }).toString().trimEnd()],
    ["PKCS #1 DER", key.export({ type: "pkcs1", format: "der" })],
  ];
}

function decode(text: unknown): Buffer {
  return Buffer.from(String(text), "base64url");
}

const confused = { rsa, ec, ed, jwks: rsa } as const;
const confusionRows = (["rsa", "ec", "ed", "jwks"] as const).flatMap((gate): readonly HostileToken[] =>
  spellings(confused[gate].publicKey).flatMap(([spelling, secret]) =>
    (["HS256", "HS512"] as const).map((alg) => ({
      name: `${alg} by the ${gate} gate's public key as ${spelling}`,
      gate,
      make: () =>
        forge(
          { alg, ...(gate === "jwks" ? { kid: "rsa-1" } : {}) },
          claimsWith(),
          hmac(alg === "HS256" ? "sha256" : "sha512", secret),
        ),
    })),
  ),
);

/** What a lookup by `kid` might read: files, rows, prototypes. */
const tricks: readonly string[] = [
  ...["../../../../dev/null", "/dev/null", "..\\..\\windows\\win.ini", "file:///dev/null", "%2e%2e%2fdev%2fnull"],
  ...["' UNION SELECT 'key'--", "1; DROP TABLE keys", "$(cat /etc/passwd)", "rsa-1\0", "rsa-1 ", "RSA-1", "rsa-1,ec-1"],
  ...[
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "",
    " ",
    "0",
    "*",
    "\u0000",
    "\ud800",
    "k".repeat(4000),
  ],
];

const kidRows = tricks.flatMap((kid): readonly HostileToken[] => {
  const shown = JSON.stringify(kid.slice(0, 30));
  return [
    {
      name: `kid ${shown} with an HMAC by the empty key`,
      gate: "secret",
      make: () => forge({ alg: "HS256", kid }, claimsWith(), hmac("sha256", "")),
    },
    {
      name: `kid ${shown} that the key set has not`,
      gate: "jwks",
      make: () => forge({ alg: "RS256", kid }, claimsWith(), rs256(rsa)),
    },
  ];
});

const oddKidRows = [5, true, null, {}, [], ["rsa-1"], { kid: "rsa-1" }].map((kid): HostileToken => ({
  name: `kid ${JSON.stringify(kid)}, which is no text (RFC 7515 4.1.4)`,
  gate: "jwks",
  make: () => forge({ alg: "RS256", kid }, claimsWith(), rs256(rsa)),
}));

const foreignRows: readonly HostileToken[] = [
  {
    name: "another secret",
    gate: "secret",
    make: () => forge({ alg: "HS256" }, claimsWith(), hmac("sha256", "x".repeat(64))),
  },
  { name: "the empty secret", gate: "secret", make: () => forge({ alg: "HS256" }, claimsWith(), hmac("sha256", "")) },
  { name: "the secret and a newline", gate: "secret", make: () => byText(`${testSecret}\n`) },
  { name: "the secret cut short", gate: "secret", make: () => byText(testSecret.slice(0, -1)) },
  { name: "the secret decoded as base64", gate: "secret", make: () => byText(Buffer.from(testSecret, "base64")) },
  { name: "another RSA key", gate: "rsa", make: () => forge({ alg: "RS256" }, claimsWith(), rs256(attackerRsa)) },
  { name: "another EC key", gate: "ec", make: () => forge({ alg: "ES256" }, claimsWith(), es256(attackerEc)) },
  {
    name: "another key under a known kid",
    gate: "jwks",
    make: () => forge({ alg: "RS256", kid: "rsa-1" }, claimsWith(), rs256(attackerRsa)),
  },
  {
    name: "the other key of the set",
    gate: "jwks",
    make: () => forge({ alg: "RS256", kid: "rsa-2" }, claimsWith(), rs256(rsa)),
  },
  {
    name: "a key of another kind",
    gate: "jwks",
    make: () => forge({ alg: "ES256", kid: "rsa-1" }, claimsWith(), es256(ec)),
  },
  {
    name: "none of two keys, without kid",
    gate: "jwks",
    make: () => forge({ alg: "RS256" }, claimsWith(), rs256(attackerRsa)),
  },
  {
    name: "an HMAC where the set has an oct key",
    gate: "jwks",
    make: () => forge({ alg: "HS256", kid: "oct-1" }, claimsWith(), hs256),
  },
];

function byText(secret: string | Buffer): string {
  return forge({ alg: "HS256" }, claimsWith(), hmac("sha256", secret));
}

/** RFC 8725 2.1 and 3.1: the sender must not choose what a key is used for, nor which key it is. */
export const hostileKeys: Readonly<Record<string, readonly HostileToken[]>> = {
  "a public key used as an HMAC secret": confusionRows,
  "a kid that is a trick": [...kidRows, ...oddKidRows],
  "a key that is not the issuer's": foreignRows,
};
