import { testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { openGate } from "../../support/fake-gate.js";
import { startServer } from "../../support/local-server.js";
import { ed, rsa } from "../support/mint.js";
import type { AuthRow } from "../../support/option-error.js";
import { sources, testAuthRows } from "../../support/option-error.js";

const { publicKey } = rsa;
const { byKey, bySet, byUri, none } = sources;

const keySources: readonly AuthRow[] = [
  ["no keys at all", none, "auth", "secret, publicKey, jwks, jwksUri or issuer"],
  ["a secret and a public key", { publicKey }, "auth", "secret and publicKey; give one"],
  ["a key set and its address", { ...bySet, jwksUri: "https://id.test/jwks" }, "auth", "jwks and jwksUri; give one"],
  ["all four", { ...byKey, secret: testSecret, jwks: { keys: [] }, jwksUri: "https://x.test" }, "auth", "give one"],
  ["http to a far host", { ...byUri, jwksUri: "http://id.test/jwks" }, "auth.jwksUri", "https"],
  [
    "http to a host named like localhost",
    { ...byUri, jwksUri: "http://localhost.evil.test/jwks" },
    "auth.jwksUri",
    "https",
  ],
  [
    "http to localhost as a user name",
    { ...byUri, jwksUri: "http://localhost@evil.test/jwks" },
    "auth.jwksUri",
    "https",
  ],
  ["an address with a password", { ...byUri, jwksUri: "https://user:password@id.test/jwks" }, "auth.jwksUri", ""],
  ["a file", { ...byUri, jwksUri: "file:///etc/jwks.json" }, "auth.jwksUri", "https"],
  ["data", { ...byUri, jwksUri: 'data:application/json,{"keys":[]}' }, "auth.jwksUri", "https"],
  ["no URL", { ...byUri, jwksUri: "id.test/jwks" }, "auth.jwksUri", "https"],
  ["an empty address", { ...byUri, jwksUri: "" }, "auth.jwksUri", "empty"],
  ["a URL object as the address", { ...byUri, jwksUri: new URL("https://id.test") }, "auth.jwksUri", "string"],
  ["discovery at http", { ...none, issuer: "http://id.test" }, "auth.issuer", "https"],
  ["discovery at no URL", { ...none, issuer: "my-issuer" }, "auth.issuer", "https"],
  ["discovery at two issuers", { ...none, issuer: ["https://a.test", "https://b.test"] }, "auth.issuer", "one issuer"],
  ["an empty issuer", { issuer: "" }, "auth.issuer", "non-empty"],
  ["no issuer in the list", { issuer: [] }, "auth.issuer", "empty list"],
  ["null as issuer", { issuer: null }, "auth.issuer", "not null"],
];

const others: readonly AuthRow[] = [
  ["no audience", { audience: undefined }, "auth.audience", "false to accept any"],
  ["audience null", { audience: null }, "auth.audience", "not null"],
  ["audience true", { audience: true }, "auth.audience", "not boolean"],
  ["audience empty", { audience: "" }, "auth.audience", "non-empty"],
  ["no audience in the list", { audience: [] }, "auth.audience", "empty list"],
  ["undefined in the list of audiences", { audience: [testAudience, undefined] }, "auth.audience", "not undefined"],
  ["requiredClaims null", { requiredClaims: null }, "auth.requiredClaims", "not null"],
  ["requiredClaims empty text", { requiredClaims: "" }, "auth.requiredClaims", "non-empty"],
  ["requiredClaims a function", { requiredClaims: () => ["tenant"] }, "auth.requiredClaims", "function"],
  ["requiredClaims with a number", { requiredClaims: ["a", 5] }, "auth.requiredClaims", "number"],
  ["requireJti as text", { requireJti: "true" }, "auth.requireJti", "true or false"],
  ["optional as number", { optional: 1 }, "auth.optional", "true or false"],
  ["realm with quotes", { realm: 'a"b' }, "auth.realm", "printable ASCII"],
  ["realm with a newline", { realm: "a\r\nSet-Cookie: x=1" }, "auth.realm", "printable ASCII"],
  ["realm with a letter beyond ASCII", { realm: "caf\u00e9" }, "auth.realm", "printable ASCII"],
  ["realm empty", { realm: "" }, "auth.realm", "empty"],
  ["tokenFrom another word", { tokenFrom: "query" }, "auth.tokenFrom", '"header"'],
  ["tokenFrom null", { tokenFrom: null }, "auth.tokenFrom", '"header"'],
  ["tokenFrom nowhere", { tokenFrom: [] }, "auth.tokenFrom", ""],
  [
    "tokenFrom with an unknown member",
    { tokenFrom: { cookie: "a", origin: "x" } },
    "auth.tokenFrom.origin",
    "did you mean origins?",
  ],
  ["tokenFrom a cookie without name", { tokenFrom: { cookie: "" } }, "auth.tokenFrom.cookie", "empty"],
  [
    "origins with a path",
    { tokenFrom: { cookie: "a", origins: ["https://a.test/x"] } },
    "auth.tokenFrom.origins",
    "https://app.example.com",
  ],
  [
    "origins with a slash",
    { tokenFrom: { cookie: "a", origins: ["https://a.test/"] } },
    "auth.tokenFrom.origins",
    "https://app.example.com",
  ],
  [
    "origins with a star",
    { tokenFrom: { cookie: "a", origins: ["*"] } },
    "auth.tokenFrom.origins",
    "https://*.example.com",
  ],
  ["origins null", { tokenFrom: { cookie: "a", origins: null } }, "auth.tokenFrom.origins", ""],
  [
    "origins that say null, as a sandboxed page does",
    { tokenFrom: { cookie: "a", origins: ["null"] } },
    "auth.tokenFrom.origins",
    "",
  ],
  ["an unknown name", { jwksUrl: "https://x.test" }, "auth.jwksUrl", "write jwksUri"],
  ["secrets for secret", { secrets: [testSecret] }, "auth.secrets", "did you mean secret?"],
  ["audiences for audience", { audiences: "x" }, "auth.audiences", "did you mean audience?"],
  ["algorithm for algorithms", { algorithm: "HS256" }, "auth.algorithm", "write algorithms"],
];

const tables = { "source of keys": keySources, option: others };

for (const [name, rows] of Object.entries(tables)) {
  describe(`a wrong ${name} of auth fails at start-up`, () => testAuthRows(rows));
}

describe("options of auth that look wrong but are right", () => {
  const rows: readonly (readonly [string, object])[] = [
    ["a secret of exactly 32 bytes", { secret: "s".repeat(32) }],
    ["16 characters of 2 bytes", { secret: "\u00e4".repeat(16) }],
    ["a secret in braces", { secret: `{${"s".repeat(40)}}` }],
    ["a secret with dashes", { secret: `-----${"s".repeat(40)}-----` }],
    ["a list as a single issuer", { issuer: [testIssuer] }],
    ["several algorithms of one key", { ...byKey, algorithms: ["RS256", "PS512"] }],
    ["Ed25519 by both names", { ...byKey, publicKey: ed.publicKey, algorithms: ["EdDSA", "Ed25519"] }],
    ["an origin with a port", { tokenFrom: { cookie: "a", origins: ["http://localhost:3000"] } }],
    ["no origins", { tokenFrom: ["header", { cookie: "a", origins: [] }] }],
    ["a realm with a comma", { realm: "a, b" }],
  ];
  for (const [what, members] of rows) it(what, () => void openGate({ auth: { ...testAuth, ...members } }));
});

describe("a gate that fails to start", () => {
  it("has not asked the issuer for keys", async () => {
    const server = await startServer((_req, res) => res.end("{}"));
    const mistakes = [
      { audience: undefined },
      { requiredClaims: 5 },
      { clockTolerance: "x" },
      { tokenFrom: "x" },
      { maxLifetime: 0 },
    ];
    try {
      for (const mistake of mistakes) {
        expect(() => openGate({ auth: { jwksUri: server.url, audience: "a", ...mistake } as never })).to.throw(
          "portcullis",
        );
      }
      await fetch(`${server.url}/after`);
      expect(server.requests).to.deep.equal(["/after"]);
    } finally {
      await server.close();
    }
  });
});
