import { nowSeconds, testAudience, testIssuer } from "@portcullis/testkit";
import type { HostileToken } from "./hostile.js";
import { forge, hs256, show, withClaims, withRawClaim, withRawMembers } from "./mint.js";

/** Claims that replace the good ones, made when the token is. */
type Claims = () => Record<string, unknown>;

function rows(claim: string, values: readonly unknown[]): HostileToken[] {
  return values.map((value) => ({
    name: `${claim} ${show(value)}`,
    gate: "secret",
    make: () => withClaims({ [claim]: value }),
  }));
}

function timed(entries: Readonly<Record<string, Claims>>): HostileToken[] {
  return Object.entries(entries).map(([name, claims]) => ({ name, gate: "secret", make: () => withClaims(claims()) }));
}

function raw(claim: string, numbers: readonly string[]): HostileToken[] {
  return numbers.map((number) => ({
    name: `${claim} ${number}`,
    gate: "secret",
    make: () => withRawClaim(claim, number),
  }));
}

const days = 86_400;
const noTime: readonly unknown[] = ["", "soon", null, true, false, [], {}, [2_000_000_000]];

const times: readonly HostileToken[] = [
  ...rows("exp", [undefined, ...noTime, "99999999999", 0, -1, 1, 1e308, -1e308]),
  ...raw("exp", ["1e400", "-1e400", "1e309", "NaN", "Infinity", "0x7fffffff"]),
  ...timed({
    "exp of now": () => ({ exp: nowSeconds() }),
    "exp of a second ago": () => ({ exp: nowSeconds() - 1 }),
    "exp of four seconds ago, within the tolerance": () => ({ exp: nowSeconds() - 4 }),
    "exp of half a second ago": () => ({ exp: Date.now() / 1000 - 0.5 }),
    "exp as a text of digits": () => ({ exp: String(nowSeconds() + 300) }),
    "exp in milliseconds": () => ({ exp: Date.now() + 300_000 }),
    "exp in milliseconds, without iat": () => ({ exp: Date.now() + 300_000, iat: undefined }),
    "exp 31 days after iat": () => ({ exp: nowSeconds() + 31 * days }),
    "exp in 31 days, without iat": () => ({ exp: nowSeconds() + 31 * days, iat: undefined }),
    "exp tomorrow, iat a year ago": () => ({ exp: nowSeconds() + days, iat: nowSeconds() - 365 * days }),
    "iat of the epoch": () => ({ iat: 0 }),
    "iat in milliseconds": () => ({ iat: Date.now() }),
    "iat a minute ahead": () => ({ iat: nowSeconds() + 60 }),
    "iat ahead of exp": () => ({ iat: nowSeconds() + 600 }),
    "iat as a text of digits": () => ({ iat: String(nowSeconds()) }),
    "nbf a minute ahead": () => ({ nbf: nowSeconds() + 60 }),
    "nbf in milliseconds": () => ({ nbf: Date.now() }),
    "nbf as a text of digits": () => ({ nbf: String(nowSeconds()) }),
  }),
  ...rows("iat", [...noTime, 1e308, -1e308]),
  ...raw("iat", ["1e400", "-1e400"]),
  ...rows("nbf", [...noTime, 1e308]),
  ...raw("nbf", ["1e400"]),
];

const noIdentifier: readonly unknown[] = ["", null, 0, 5, true, false, [], ["a"], {}, { toString: "a" }];

const identifiers: readonly HostileToken[] = [
  ...["jti", "sid"].flatMap((claim) => rows(claim, noIdentifier)),
  // An empty sub names nobody, and a token may do that.
  ...rows(
    "sub",
    noIdentifier.filter((value) => value !== ""),
  ),
  ...rows("org_id", [0.5, true, false, 2 ** 53, [], ["a"], {}]),
];

const issuers: readonly unknown[] = [
  ...[undefined, "", null, 5, true, {}, [], [testIssuer], [[testIssuer]], { [testIssuer]: true }],
  ...[`${testIssuer}/`, `${testIssuer} `, ` ${testIssuer}`, testIssuer.toUpperCase(), testIssuer.slice(0, -1)],
  ...[`${testIssuer}.evil.example`, testIssuer.replace("https", "http"), testIssuer.replace("://", "://x@")],
];

const audiences: readonly unknown[] = [
  ...[undefined, "", null, 5, true, {}, [], [""], [[testAudience]], [{ aud: testAudience }], { 0: testAudience }],
  ...[{ [testAudience]: true }, { length: 1, 0: testAudience }, [null], [5], ["other-api", "third-api"]],
  ...[
    testAudience.toUpperCase(),
    `${testAudience} `,
    `${testAudience}/`,
    testAudience.slice(0, -1),
    `${testAudience}2`,
  ],
  ...[`${testAudience} other-api`, `${testAudience},other-api`, `https://${testAudience}`, "*"],
];

const uses: readonly HostileToken[] = [
  ...rows("token_use", ["id", "ID", "refresh"]),
  ...rows("typ", ["Refresh", "REFRESH", "Offline", "ID", "Logout", "Serialized-ID", "RegistrationAccessToken"]),
  ...rows("events", [{ "http://schemas.openid.net/event/backchannel-logout": {} }]),
  ...rows("cnf", [
    { jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" },
    { jkt: "" },
    { jkt: null },
    { jkt: ["x"] },
    { jkt: 0, kid: "x" },
  ]),
];

const shapes: readonly (readonly [string, string])[] = [
  ["an array", "[]"],
  ["null", "null"],
  ["a string", '"x"'],
  ["a number", "5"],
  ["true", "true"],
  ["not JSON", "exp=1"],
  ["cut off", '{"exp":99999999999'],
  ["with a comma too many", '{"exp":99999999999,}'],
  ["with single quotes", "{'exp':99999999999}"],
  ["a list of claims", '[{"exp":99999999999}]'],
  ["a thousand arrays", `${"[".repeat(1000)}${"]".repeat(1000)}`],
  ["2500 open arrays", "[".repeat(2500)],
  ["a NUL", "\0"],
];

const payloads = shapes.map(([name, payload]): HostileToken => ({
  name: `a payload that is ${name}`,
  gate: "secret",
  make: () => forge({ alg: "HS256" }, payload, hs256),
}));

/** JSON takes the last of several members of one name; what decides must not have looked at the first. */
const duplicates: readonly (readonly [string, string])[] = [
  ["a past exp after a future one", '"exp":1'],
  ["a text as exp after a number", '"exp":"99999999999"'],
  ["another aud after the right one", '"aud":"other-api"'],
  ["another iss after the right one", '"iss":"https://evil.example"'],
  ["an empty jti after a good one", '"jti":""'],
  ["a number as sub after a text", '"sub":5'],
  ["an escaped name that is exp", '"\\u0065xp":1'],
  ["a nbf ahead", '"nbf":1,"nbf":99999999999'],
];

const duplicateRows = duplicates.map(([name, members]): HostileToken => ({
  name,
  gate: "secret",
  make: () => withRawMembers(members),
}));

const prototypes: readonly HostileToken[] = [
  {
    name: "exp, aud and iss only behind __proto__",
    gate: "secret",
    make: () => {
      const claims = JSON.stringify({ exp: nowSeconds() + 300, aud: testAudience, iss: testIssuer });
      return forge({ alg: "HS256" }, `{"sub":"alice","__proto__":${claims}}`, hs256);
    },
  },
  {
    name: "exp behind constructor.prototype",
    gate: "secret",
    make: () => withRawMembers(`"exp":null,"constructor":{"prototype":{"exp":${nowSeconds() + 300}}}`),
  },
];

export const hostileClaims: Readonly<Record<string, readonly HostileToken[]>> = {
  "a time that is none, or not now": times,
  "an identifier that is none": identifiers,
  "another issuer": rows("iss", issuers),
  "another audience": rows("aud", audiences),
  "a token that is no access token by its claims": uses,
  "a malformed payload": payloads,
  "a claim said twice": duplicateRows,
  "claims behind a prototype": prototypes,
};
