import { createHash } from "node:crypto";
import { testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { IssuerScope } from "../../../packages/core/src/auth/issuer-scope.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { SubjectKeys } from "../../../packages/core/src/store/ports/sessions.js";
import { isSoak } from "../../support/soak.js";
import { admit, openGate, refuse } from "../../support/fake-gate.js";
import { claimsWith, forge, hs256, withClaims } from "../support/mint.js";
import { expectOptionError } from "../../support/option-error.js";

const [a, b, c] = ["https://a.test", "https://b.test", "https://c.test"];

/** The name of a user whom a later claim names, made as the documents say. */
function digestForm(claim: string, value: string): string {
  const hash = createHash("sha256").update(JSON.stringify([claim, value]));
  return `claim-${hash.digest("hex").slice(0, 32)}`;
}

/** Texts that may be taken for another's principal, and any others. */
const subject: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom("42", "client:42", "x", digestForm("client_id", "42"), `first-${digestForm("client_id", "42")}`),
  fc.constantFrom("sub", "client_id").map((claim) => `first-first-${digestForm(claim, "42")}`),
  fc.constantFrom(a, b, c).map((issuer) => `iss-${new IssuerScope().digest(issuer)}.42`),
  fc.constantFrom(a, b, c).map((issuer) => `iss-${new IssuerScope().digest(issuer)}.${digestForm("client_id", "42")}`),
  fc.string({ unit: "binary", minLength: 1, maxLength: 5 }),
  fc.string({ minLength: 1, maxLength: 80 }),
);

const user = fc.record({
  issuer: fc.oneof(fc.constantFrom(a, b, c), fc.string({ unit: "binary", minLength: 1, maxLength: 3 })),
  claim: fc.oneof(
    fc.constantFrom(undefined, "client_id", "azp"),
    fc.string({ unit: "binary", minLength: 1, maxLength: 3 }),
  ),
  value: subject,
});

function sessionKeys({ index, records, ended, tokens, shared }: SubjectKeys): string[] {
  return [index, records, ended, tokens, shared];
}

const numRuns = isSoak ? 2000 : 500;

describe("the principals of different users", () => {
  const keysOf = (space: Keyspace, principal: string): string[] => [
    space.subjectCutoff(principal),
    space.userPartition(principal),
    space.holder(principal),
    ...sessionKeys(space.sessionsOf(principal)),
  ];
  const bytes = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

  for (const shared of [undefined, a, false] as const) {
    it(`and their keys never meet, whatever issuer, claim and value, with sharedIssuer ${String(shared)}`, () => {
      const scope = new IssuerScope({ known: [a, b], open: true, shared });
      const space = new Keyspace("", "key-secret", { issuers: scope });
      fc.assert(
        fc.property(user, user, (one, other) => {
          const same = one.issuer === other.issuer && one.claim === other.claim && one.value === other.value;
          const [p, q] = [one, other].map(({ issuer, claim, value }) => scope.principal(issuer, value, claim)) as [
            string,
            string,
          ];
          expect(p === q).to.equal(same);
          const [first, second] = [keysOf(space, p).map(bytes), keysOf(space, q).map(bytes)];
          if (same) expect(first).to.deep.equal(second);
          else expect(first.filter((key) => second.includes(key))).to.deep.equal([]);
        }),
        { numRuns },
      );
    });
  }

  it("and tenants, organisations, claims of limits never meet, whatever issuer, claim and value", () => {
    const scope = new IssuerScope({ known: [a, b], open: true, shared: a });
    const space = new Keyspace("", "key-secret", { issuers: scope });
    const keys = ({ issuer, value, claim = "sub" }: { issuer: string; value: string; claim?: string | undefined }) => {
      const named = scope.qualify(issuer, value);
      const group = space.groupOf(named);
      return [space.holder(named), space.groupCutoff(named), group.members, group.tokens, group.shared]
        .map((key) => `${key} of any claim`)
        .concat(space.claimPartition(issuer, claim, value));
    };
    fc.assert(
      fc.property(user, user, (one, other) => {
        const [first, second] = [keys(one).map(bytes), keys(other).map(bytes)];
        const isSame = one.issuer === other.issuer && one.value === other.value;
        const meeting = first.filter((key) => second.includes(key)).length;
        const isSameClaim = (one.claim ?? "sub") === (other.claim ?? "sub");
        expect(meeting).to.equal(isSame ? (isSameClaim ? 6 : 5) : 0);
      }),
      { numRuns },
    );
  });

  it("are the same for all gates when processes tell each other", () => {
    const [scope, other] = [
      new IssuerScope({ known: [a, b], shared: a }),
      new IssuerScope({ known: [a, b], shared: b }),
    ];
    fc.assert(
      fc.property(user, ({ claim, value }) => {
        const said = scope.universal(scope.principal(a, value, claim));
        expect(other.local(said)).to.equal(other.principal(a, value, claim));
        expect(scope.local(said)).to.equal(scope.principal(a, value, claim));
      }),
    );
  });

  it("leave the users of a first claim to the keys that services share, and no others", () => {
    const scope = new IssuerScope({ known: [a] });
    const space = new Keyspace("", "key-secret", { issuers: scope });
    const wellFormed = subject.filter((text) => text.isWellFormed() && Buffer.byteLength(text) <= 512);
    fc.assert(
      fc.property(wellFormed, (value) => {
        const first = scope.principal(a, value);
        expect(space.subjectCutoff(first)).to.equal(`auth:cutoff:${value}`);
        expect(space.sessionsOf(first).shared).to.equal(`auth:user_tokens:${value}`);
        const later = scope.principal(a, value, "client_id");
        expect(space.subjectCutoff(later)).to.match(/^portcullis:\d+:cutoff:subject:/);
        expect(space.sessionsOf(later).shared).to.match(/^portcullis:\d+:user_tokens:/);
      }),
      { numRuns },
    );
  });

  it("are text as the documents say", () => {
    const scope = new IssuerScope({ known: [a, b], shared: a });
    expect(scope.principal(a, "42")).to.equal("42");
    expect(scope.principal(a, "42", "client_id")).to.equal(digestForm("client_id", "42"));
    expect(scope.principal(b, "42", "client_id")).to.equal(`iss-${scope.digest(b)}.${digestForm("client_id", "42")}`);
    expect(scope.isOfLaterClaim(scope.principal(b, "42", "client_id"))).to.equal(true);
    expect(scope.isOfLaterClaim(scope.principal(b, digestForm("client_id", "42")))).to.equal(false);
  });
});

describe("an issuer that is named twice", () => {
  it("is one issuer, with the keys that other gates of it have", () => {
    const [once, twice] = [new IssuerScope({ known: [a] }), new IssuerScope({ known: [a, a] })];
    expect(twice.principal(a, "42")).to.equal(once.principal(a, "42"));
    expect([twice.home, twice.sharing, twice.several]).to.deep.equal([once.home, once.sharing, false]);
  });
});

describe("auth.subjectClaim", () => {
  it("lists claims; the first one that a token has identifies the user", async () => {
    const gate = openGate({ auth: { ...testAuth, subjectClaim: ["sub", "client_id", "app.id"] } });
    const read = async (claims: Record<string, unknown>): Promise<string[]> => {
      const { subject: text, principal } = await admit(gate, withClaims(claims));
      return [text, principal];
    };
    expect(await read({ sub: "42", client_id: "7" })).to.deep.equal(["42", "42"]);
    for (const sub of [undefined, ""])
      expect(await read({ sub, client_id: "42" })).to.deep.equal(["42", digestForm("client_id", "42")]);
    for (const client_id of [undefined, null, ""])
      expect(await read({ sub: "", client_id, app: { id: "42" } })).to.deep.equal(["42", digestForm("app.id", "42")]);
    expect(await read({ sub: undefined })).to.deep.equal(["", ""]);
  });

  it("may be another claim than sub; sub is then ignored", async () => {
    const gate = openGate({ auth: { ...testAuth, subjectClaim: "oid" } });
    const { subject: text, principal } = await admit(gate, withClaims({ sub: "pairwise", oid: "alice" }));
    expect([text, principal]).to.deep.equal(["alice", "alice"]);
    expect((await admit(gate, withClaims({ oid: undefined }))).principal).to.equal("");
  });

  it("refuses a token whose claim is not text, even if a later claim is", async () => {
    const gate = openGate({ auth: { ...testAuth, subjectClaim: ["oid", "sub"] } });
    for (const oid of [true, {}, ["a"]])
      expect((await refuse(gate, withClaims({ oid }))).cause).to.equal("the claim that names the user is not text");
    expect((await refuse(gate, withClaims({ oid: 5 }))).cause).to.equal(
      "the claim that names the user is a number, and auth.numericSubject is not set",
    );
  });

  it("may differ between issuers", async () => {
    const one = { secret: testSecret, algorithms: ["HS256"] as const };
    const gate = openGate({
      auth: {
        audience: testAuth.audience,
        subjectClaim: "oid",
        numericSubject: true,
        issuers: [
          { ...one, issuer: a, subjectClaim: ["sub", "client_id"], numericSubject: false },
          { ...one, issuer: b },
        ],
        sharedIssuer: a,
      },
    });
    const from = (iss: string, claims: object): string =>
      forge({ alg: "HS256" }, claimsWith({ iss, sub: undefined, ...claims }), hs256);
    expect((await admit(gate, from(a, { client_id: "42", oid: 7 }))).principal).to.equal(digestForm("client_id", "42"));
    expect((await admit(gate, from(b, { client_id: "42", oid: 7 }))).subject).to.equal("7");
    await refuse(gate, from(a, { client_id: 42 }));
  });

  it("that is wrong fails at start-up", () => {
    for (const [value, hint] of [
      ["", "non-empty"],
      [[], "empty list"],
      [["sub", 5], "non-empty string"],
      [["sub", "sub"], "one claim twice"],
      [null, "non-empty string"],
    ] as const)
      expectOptionError(
        () => openGate({ auth: { ...testAuth, subjectClaim: value as never } }),
        "auth.subjectClaim",
        hint,
      );
    expectOptionError(
      () => openGate({ auth: { ...testAuth, numericSubject: 1 as never } }),
      "auth.numericSubject",
      "true or false",
    );
  });

  it("begins with sub where the gate issues tokens, which name users by sub", async () => {
    const tokens = { signingKey: testSecret, issuer: testIssuer, audience: testAuth.audience };
    for (const issuer of [testIssuer, [testIssuer, a], () => true])
      expectOptionError(
        () => openGate({ tokens, auth: { ...testAuth, issuer, subjectClaim: ["oid", "sub"] } }),
        "auth.subjectClaim",
        'must begin with "sub" for tokens.issuer',
      );
    const issuers = [{ issuer: a, secret: testSecret, algorithms: ["HS256"] as const }];
    const gate = openGate({ tokens, auth: { audience: testAuth.audience, subjectClaim: "oid", issuers } });
    const { accessToken } = await gate.tokens.issue({ subject: "alice" });
    expect((await admit(gate, accessToken)).principal).to.equal("alice");
  });

  it("keeps the sessions of a user whose name looks like a client's, and ends them", async () => {
    const gate = openGate({
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAuth.audience },
      auth: { ...testAuth, subjectClaim: ["sub", "client_id"] },
    });
    const name = digestForm("client_id", "42");
    const { accessToken, refreshToken } = await gate.tokens.issue({ subject: name });
    const auth = await admit(gate, accessToken);
    const client = await admit(gate, withClaims({ sub: undefined, client_id: "42" }));
    expect([auth.subject, client.principal]).to.deep.equal([name, name]);
    expect(auth.principal).not.to.equal(name);
    expect(await gate.sessions.list(client)).to.deep.equal([]);
    expect(await gate.sessions.list(auth)).to.have.length(1);
    expect(await gate.sessions.revokeAll(client)).to.equal(0);
    const renewed = await gate.tokens.refresh(refreshToken);
    expect(await gate.sessions.revokeAll(auth)).to.equal(1);
    await refuse(gate, renewed.accessToken);
  });
});

describe("auth.numericSubject", () => {
  it("makes an integer the text of it", async () => {
    const gate = openGate({ auth: { ...testAuth, numericSubject: true } });
    for (const [sub, text] of [
      [42, "42"],
      ["42", "42"],
      [0, "0"],
      [-7, "-7"],
    ] as const) {
      const { subject: read, principal } = await admit(gate, withClaims({ sub }));
      expect([read, principal]).to.deep.equal([text, text]);
    }
    for (const sub of [0.5, 2 ** 53, true, null, [], {}])
      expect((await refuse(gate, withClaims({ sub }))).cause).to.equal(
        "the claim that names the user is neither text nor a safe integer",
      );
  });

  it("is off by default, so that an integer is no subject", async () => {
    const gate = openGate({ auth: testAuth });
    expect((await refuse(gate, withClaims({ sub: 42 }))).cause).to.equal(
      "the claim that names the user is a number, and auth.numericSubject is not set",
    );
  });
});

describe("gate.principal()", () => {
  const one = { secret: testSecret, algorithms: ["HS256"] as const, subjectClaim: ["sub", "client_id"] };
  const several = {
    audience: testAuth.audience,
    issuers: [
      { ...one, issuer: a },
      { ...one, issuer: (issuer: string) => issuer.startsWith("https://tenant-") },
    ],
  };

  it("is the auth.principal that the tokens of a user have", async () => {
    for (const auth of [
      several,
      { ...several, sharedIssuer: a },
      { ...several, sharedIssuer: "https://tenant-1.test" },
      { ...testAuth, issuer: a, subjectClaim: one.subjectClaim },
      { ...testAuth, issuer: [a, "https://tenant-1.test"], subjectClaim: one.subjectClaim },
      { ...testAuth, issuer: undefined, subjectClaim: one.subjectClaim },
    ]) {
      const gate = openGate({ auth });
      const isSingle = "issuer" in auth && auth.issuer === a;
      for (const issuer of isSingle ? [a] : [a, "https://tenant-1.test"]) {
        for (const text of ["42", digestForm("client_id", "42"), "iss-x"]) {
          const user = forge({ alg: "HS256" }, claimsWith({ iss: issuer, sub: text, client_id: "7" }), hs256);
          const client = forge({ alg: "HS256" }, claimsWith({ iss: issuer, sub: undefined, client_id: text }), hs256);
          expect(gate.principal({ issuer, subject: text })).to.equal((await admit(gate, user)).principal);
          expect(gate.principal({ issuer, subject: text, claim: "sub" })).to.equal((await admit(gate, user)).principal);
          expect(gate.principal({ issuer, subject: text, claim: "client_id" })).to.equal(
            (await admit(gate, client)).principal,
          );
        }
      }
    }
  });

  it("is for the only or the shared issuer by default", () => {
    expect(openGate({ auth: testAuth }).principal({ subject: "alice" })).to.equal("alice");
    expect(openGate({ auth: { ...testAuth, issuer: undefined } }).principal({ subject: "alice" })).to.equal("alice");
    expect(openGate({ auth: { ...several, sharedIssuer: a } }).principal({ subject: "alice" })).to.equal("alice");
  });

  it("names users for calls about them", async () => {
    const gate = openGate({ auth: { ...several, sharedIssuer: a } });
    const issuer = "https://tenant-1.test";
    await gate.revocations.revokeSubject(gate.principal({ issuer, subject: "alice" }));
    const now = (iss: string): string => forge({ alg: "HS256" }, claimsWith({ iss }), hs256);
    await admit(gate, now(a));
    await refuse(gate, now(issuer));
    await gate.cache.forUser(gate.principal({ issuer, subject: "alice" })).set("k", "theirs");
    expect(await gate.cache.forUser("alice").get("k")).to.equal(undefined);
  });

  it("throws a TypeError that names the correct argument for a user that no token can name", () => {
    const gate = openGate({ auth: several });
    const wrong: readonly (readonly [unknown, string, string])[] = [
      [undefined, "principal()", "object"],
      ["alice", "principal()", "object"],
      [{ subject: "alice", issuer: "https://x.test" }, "principal().issuer", "whose tokens this gate accepts"],
      [{ subject: "alice" }, "principal().issuer", "is required"],
      [{ subject: "alice", issuer: "" }, "principal().issuer", "empty"],
      [{ subject: "", issuer: a }, "principal().subject", "empty"],
      [{ subject: 42, issuer: a }, "principal().subject", "number"],
      [{ issuer: a }, "principal().subject", "undefined"],
      [{ subject: "alice", issuer: a, claim: "oid" }, "principal().claim", "sub, client_id"],
      [{ subject: "alice", issuer: a, sub: "x" }, "principal().sub", "is not an option"],
    ];
    for (const [value, option, hint] of wrong) expectOptionError(() => gate.principal(value as never), option, hint);
    expectOptionError(() => openGate({}).principal({ subject: "alice" }), "auth", "is required for principal()");
    expectOptionError(
      () => openGate({ auth: { ...testAuth, issuer: [a, b] } }).principal({ issuer: c, subject: "alice" }),
      "principal().issuer",
      "whose tokens this gate accepts",
    );
  });
});
