import type { HostileToken } from "./hostile.js";
import { claimsWith, forge, hmac, hs256, rs256, rsa, show, withHeader } from "./mint.js";

const algorithms: readonly unknown[] = [
  ...[
    "none",
    "None",
    "NONE",
    "nOnE",
    "none ",
    "",
    " ",
    "null",
    "hs256",
    "Hs256",
    "HS256 ",
    " HS256",
    "HS256\0",
    "HS-256",
  ],
  ...["HS384", "HS512", "HS1", "RS256", "ES256", "PS256", "EdDSA", "dir", "A128KW", "HS256,none"],
  ...["toString", "constructor", "__proto__", "hasOwnProperty"],
  ...[undefined, null, 0, 1, true, false, [], ["HS256"], [["HS256"]], {}, { HS256: 1 }],
];

const algorithmRows = algorithms.map((alg): HostileToken => ({
  name: `alg ${show(alg)} on a good HMAC`,
  gate: "secret",
  make: () => withHeader({ alg, typ: "JWT" }),
}));

const unsignedRows: readonly HostileToken[] = ["none", "None", "HS256"].flatMap((alg) =>
  ["", "AA", "bm9uZQ"].flatMap((signature) =>
    (["secret", "rsa"] as const).map((gate) => ({
      name: `alg ${alg} with the signature "${signature}" for the ${gate} gate`,
      gate,
      make: () => forge({ alg }, claimsWith(), () => signature),
    })),
  ),
);

const otherAlgorithmRows: readonly HostileToken[] = [
  { name: "HS384 by the secret of HS256", gate: "secret", make: () => signedAs("HS384", "sha384") },
  { name: "HS512 by the secret of HS256", gate: "secret", make: () => signedAs("HS512", "sha512") },
  {
    name: "an RS512 header on an RS256 signature",
    gate: "rsa",
    make: () => forge({ alg: "RS512" }, claimsWith(), rs256(rsa)),
  },
  {
    name: "a PS256 header on an RS256 signature",
    gate: "rsa",
    make: () => forge({ alg: "PS256" }, claimsWith(), rs256(rsa)),
  },
  { name: "RS256 for a gate of ES256", gate: "ec", make: () => forge({ alg: "RS256" }, claimsWith(), rs256(rsa)) },
];

function signedAs(alg: string, hash: "sha384" | "sha512"): string {
  const secret = "test-secret-".padEnd(64, "0123456789abcdef");
  return forge({ alg }, claimsWith(), hmac(hash, secret));
}

/** RFC 7515 4.1.11: what is critical and not understood must be refused, and `crit` has rules of its own. */
const critical: readonly Record<string, unknown>[] = [
  { crit: ["x"], x: 1 },
  { crit: ["http://example.com/ext"], "http://example.com/ext": true },
  { crit: ["x"] },
  { crit: [] },
  { crit: "exp" },
  { crit: ["exp"], exp: 1 },
  { crit: ["alg"] },
  { crit: ["typ"], typ: "JWT" },
  { crit: ["kid", "x"], kid: "a", x: 1 },
  { crit: [1] },
  { crit: [""] },
  { crit: [["b64"]], b64: true },
  { crit: {} },
  { crit: null },
  { crit: true },
  { crit: ["b64"] },
  { crit: ["b64"], b64: false },
  { crit: ["b64"], b64: "false" },
  { crit: ["b64", "x"], b64: true },
  { b64: false },
];

const criticalRows = critical.map((header): HostileToken => ({
  name: `header ${JSON.stringify(header)}`,
  gate: "secret",
  make: () => withHeader({ alg: "HS256", ...header }),
}));

/** RFC 7515 4.1.9: `typ` is a string; RFC 8725 3.11: the kinds of tokens are told apart by it. */
const types: readonly unknown[] = [
  ...[
    "refresh+jwt",
    "rt+jwt",
    "dpop+jwt",
    "DPoP+JWT",
    "application/dpop+jwt",
    "logout+jwt",
    "id_token",
    "secevent+jwt",
  ],
  ...["kb+jwt", "JOSE", "JWE", "", " JWT", "at+jwt ", "jwt\0", "text/at+jwt", "application/application/jwt"],
  ...[null, 5, true, {}, ["JWT"], ["dpop+jwt"]],
];

const typeRows = types.map((typ): HostileToken => ({
  name: `typ ${JSON.stringify(typ)}`,
  gate: "secret",
  make: () => withHeader({ alg: "HS256", typ }),
}));

const malformedHeaders: readonly (readonly [string, string])[] = [
  ["not JSON", "alg=HS256"],
  ["an array", '[{"alg":"HS256"}]'],
  ["null", "null"],
  ["a string", '"HS256"'],
  ["a number", "256"],
  ["cut off", '{"alg":"HS256"'],
  ["followed by junk", '{"alg":"HS256"}x'],
  ["none after HS256 under one name", '{"alg":"HS256","alg":"none"}'],
  ["alg behind __proto__", '{"__proto__":{"alg":"HS256"}}'],
];

const malformedRows = malformedHeaders.map(([name, header]): HostileToken => ({
  name: `a header that is ${name}`,
  gate: "secret",
  make: () => forge(header, claimsWith(), hs256),
}));

export const hostileHeaders: Readonly<Record<string, readonly HostileToken[]>> = {
  "an algorithm that is not the configured one": [...algorithmRows, ...unsignedRows, ...otherAlgorithmRows],
  "a critical header": criticalRows,
  "a type that is no access token": typeRows,
  "a malformed header": malformedRows,
};
