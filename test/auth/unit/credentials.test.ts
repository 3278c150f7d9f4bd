import { inspect } from "node:util";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { readCredentials } from "../../../packages/core/src/auth/credentials.js";
import type { Credentials, TokenSource } from "../../../packages/core/src/auth/credentials.js";
import type { FakeRequest } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { withClaims } from "../support/mint.js";

type Source = TokenSource<undefined>;
const header: Source = { kind: "header" };
const cookie: Source = { kind: "cookie", name: "session", origins: new Set(["https://app.test"]) };
const token = "eyJh.eyJz.c2ln";

function reader(value: unknown): Source {
  return { kind: "function", read: () => value as string };
}

function read(sources: readonly Source[], request: FakeRequest): Credentials {
  return readCredentials(fakeExchange(request), sources);
}

function ofHeader(authorization: string): string {
  return read([header], { headers: { authorization } }).kind;
}

describe("the Authorization header", () => {
  const accepted: readonly string[] = [
    ...[`Bearer ${token}`, `bearer ${token}`, `BEARER ${token}`, `bEaReR ${token}`],
    ...[
      `  Bearer ${token}`,
      `Bearer ${token}  `,
      `\tBearer\t${token}\t`,
      `Bearer     ${token}`,
      ` Bearer \t ${token} `,
    ],
  ];
  for (const value of accepted) {
    it(`carries a token as ${JSON.stringify(value)}`, () => {
      expect(read([header], { headers: { authorization: value } })).to.deep.equal({
        kind: "token",
        token,
        scheme: "Bearer",
      });
    });
  }

  const malformed: readonly string[] = [
    ...[
      "Bearer",
      "bearer",
      " Bearer ",
      "Bearer x",
      "Bearer a.b",
      "Bearer a.b.c.d",
      "Bearer ..",
      "Bearer a..c",
      "Bearer .b.c",
      "Bearer a.b.",
    ],
    ...[
      `Bearer ${token} x`,
      `Bearer ${token}, Bearer ${token}`,
      `Bearer ${token},${token}`,
      `Bearer Bearer ${token}`,
      `Bearer ${token}; x=1`,
    ],
    ...[`Bearer "${token}"`, `Bearer <${token}>`, `Bearer ${token}=`, `Bearer ${token}\0`, `Bearer token=${token}`],
    ...[
      `Bearer ${token}\u00e9`,
      `Bearer ${token.replaceAll(".", "\u2024")}`,
      "Bearer \u{1f511}.\u{1f511}.\u{1f511}",
      `Bearer ${token.replace("c", "+")}`,
    ],
    ...["Bearer undefined", "Bearer null", "Bearer [object Object]", "Bearer ${token}"],
  ];
  for (const value of malformed) {
    it(`is malformed as ${JSON.stringify(value)}`, () => expect(ofHeader(value)).to.equal("malformed"));
  }

  const absent: readonly string[] = [
    ...[
      "",
      " ",
      "Basic dXNlcjpwYXNz",
      "basic Zm9vOmJhcg==",
      `n1 Bearer ${token}`,
      `Token ${token}`,
      token,
      "Digest username=x",
    ],
    ...[
      `Bearer:${token}`,
      `Bearer${token}`,
      `Bearer,${token}`,
      `"Bearer" ${token}`,
      "Negotiate AAAA",
      `XBearer ${token}`,
      `Bearerx ${token}`,
    ],
  ];
  for (const value of absent) {
    it(`does not contain credentials for the gate as ${JSON.stringify(value)}`, () =>
      expect(ofHeader(value)).to.equal("none"));
  }

  describe("on several lines", () => {
    const other = "eyJh.eyJz.b3Ro";

    /** As Node shows them: the first line in `headers`, all of them in `rawHeaders`. */
    function ofLines(lines: readonly string[], sources: readonly Source[] = [header]): string {
      const rawHeaders = [
        "Host",
        "a",
        ...lines.flatMap((line) => ["aUTHORIZATION", line]),
        "cache-control",
        "no-cache",
      ];
      return read(sources, { rawHeaders, headers: { authorization: lines[0] ?? "" } }).kind;
    }

    it("is ambiguous if they differ in token or scheme, or if one of them has none", () => {
      for (const lines of [
        [`Bearer ${token}`, `Bearer ${other}`],
        [`Bearer ${other}`, `Bearer ${token}`],
        [`Bearer ${token}`, `Bearer ${token}`, `Bearer ${other}`],
        [`Bearer ${token}`, `DPoP ${token}`],
        [`Bearer ${token}`, "Basic dXNlcjpwYXNz"],
        ["Basic dXNlcjpwYXNz", `Bearer ${token}`],
        [`Bearer ${token}`, ""],
        ["", `Bearer ${token}`],
        [`Bearer ${token}`, "Bearer"],
        [`Bearer ${token}`, `Bearer ${"a".repeat(9000)}`],
      ])
        expect(ofLines(lines), lines.join(" | ").slice(0, 80)).to.equal("ambiguous");
    });

    it("is one if they say the same", () => {
      expect(ofLines([`Bearer ${token}`, `Bearer ${token}`])).to.equal("token");
      expect(ofLines([`Bearer ${token}`, ` bearer   ${token} `])).to.equal("token");
      expect(ofLines(["Bearer x", "Bearer x"])).to.equal("malformed");
      expect(ofLines(["Basic a", "Basic b"])).to.equal("none");
      expect(ofLines([`Bearer ${token}`])).to.equal("token");
    });

    it("is found ambiguous for a function too, which may read the first line only", () => {
      const readsFirst: Source = { kind: "function", read: () => token };
      expect(ofLines([`Bearer ${token}`, `Bearer ${other}`], [readsFirst])).to.equal("ambiguous");
      expect(ofLines([`Bearer ${token}`, `Bearer ${token}`], [readsFirst])).to.equal("token");
      const rawHeaders = ["Proxy-Authorization", `Bearer ${token}`, "proxy-authorization", `Bearer ${other}`];
      expect(read([readsFirst], { rawHeaders }).kind).to.equal("ambiguous");
    });

    it("is ambiguous if a framework joined different lines, and is not shown", () => {
      for (const joined of [`Bearer ${token}, Bearer ${other}`, `Bearer ${token},DPoP ${token}`])
        for (const rawHeaders of [undefined, []])
          expect(
            read([header], { headers: { authorization: joined }, ...(rawHeaders === undefined ? {} : { rawHeaders }) })
              .kind,
          ).to.equal("ambiguous");
      expect(ofLines([`Bearer ${token}, Bearer ${other}`])).to.equal("malformed");
    });
  });

  it("may be missing", () => expect(read([header], {}).kind).to.equal("none"));

  it("is too large above 8192 characters, before anything is parsed", () => {
    expect(ofHeader(`Bearer ${"a".repeat(4000)}.${"b".repeat(4000)}.${"c".repeat(190)}`)).to.equal("token");
    expect(ofHeader(`Bearer ${"a".repeat(4000)}.${"b".repeat(4000)}.${"c".repeat(191)}`)).to.equal("too_large");
    expect(ofHeader(`Bearer ${"a ".repeat(5000)}`)).to.equal("too_large");
  });

  it("contains a token only if it has three parts of base64url after one scheme", () => {
    const pieces = fc.constantFrom(
      "Bearer",
      "bearer",
      " ",
      "\t",
      ",",
      ".",
      "a",
      "Zm9v",
      "-_",
      "=",
      "\0",
      "\r\n",
      "\u00e9",
      token,
      '"',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.array(pieces).map((parts) => parts.join("")),
        ),
        (value) => {
          const credentials = read([header], { headers: { authorization: value } });
          if (credentials.kind !== "token") return ["none", "malformed"].includes(credentials.kind);
          const match = /^\s*bearer[ \t]\s*([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)\s*$/i.exec(value);
          return match?.[1] === credentials.token;
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("a token from a function of the application", () => {
  it("is the returned text; without one there is no token", () => {
    expect(read([reader(token)], {})).to.deep.equal({ kind: "token", token, scheme: "Bearer" });
    for (const value of [undefined, null, ""]) expect(read([reader(value)], {}).kind).to.equal("none");
  });

  for (const value of [
    5,
    true,
    false,
    0,
    {},
    [],
    [token],
    { toString: () => token },
    Buffer.from(token),
    "x",
    `Bearer ${token}`,
    ` ${token}`,
  ]) {
    it(`is malformed as ${inspect(value).slice(0, 40)}`, () =>
      expect(read([reader(value)], {}).kind).to.equal("malformed"));
  }

  it("is a bug of the application as a promise, which ends no process when it fails", async () => {
    for (const value of [Promise.resolve(token), Promise.resolve(undefined), Promise.reject(new Error("late"))])
      expect(() => read([reader(value)], {})).to.throw(TypeError, "auth.tokenFrom must return a token or undefined");
    await new Promise((resolve) => setImmediate(resolve));
  });

  it("rethrows the error of the function", () => {
    const failing: Source = {
      kind: "function",
      read() {
        throw new Error("of the application");
      },
    };
    expect(() => read([failing], {})).to.throw("of the application");
  });
});

describe("several sources of a token", () => {
  const all = [header, cookie, reader(undefined)];

  it("may have one token between them", () => {
    expect(read(all, { headers: { authorization: `Bearer ${token}` } }).kind).to.equal("token");
    expect(read(all, { headers: { cookie: `session=${token}` } }).kind).to.equal("token");
    expect(read([header, cookie, reader(token)], {}).kind).to.equal("token");
    expect(read(all, { headers: { authorization: "Basic x", cookie: `session=${token}` } }).kind).to.equal("token");
  });

  it("are ambiguous with two, also with the same one twice, and with one that is malformed or foreign", () => {
    const authorization = `Bearer ${token}`;
    const pairs: readonly FakeRequest[] = [
      { headers: { authorization, cookie: `session=${token}` } },
      { headers: { authorization: "Bearer x", cookie: `session=${token}` } },
      { headers: { authorization, cookie: "session=x" } },
      { method: "POST", headers: { authorization, cookie: `session=${token}` } },
    ];
    for (const request of pairs) expect(read(all, request).kind).to.equal("ambiguous");
    expect(read([header, reader(token)], { headers: { authorization } }).kind).to.equal("ambiguous");
  });

  it("lead to 400 invalid_request (RFC 6750 3.1)", async () => {
    const guard = openGate({ auth: { ...testAuth, tokenFrom: ["header", { cookie: "session" }] } }).guard();
    const text = withClaims({});
    const verdict = await guard.check(
      fakeExchange({ headers: { authorization: `Bearer ${text}`, cookie: `session=${text}` } }),
    );
    expect(verdict).to.include({ allowed: false, status: 400 });
    expect(verdict.headers).to.deep.include(["WWW-Authenticate", 'Bearer error="invalid_request"']);
  });

  it("do not read query and body by default", async () => {
    const gate = openGate({ auth: testAuth });
    const verdict = await gate.guard().check(fakeExchange({ url: `/?access_token=${withClaims({})}` }));
    expect(verdict).to.include({ allowed: false, status: 401 });
  });
});

describe("the answer to a request", () => {
  async function answer(
    authorization: string | undefined,
    more: object = {},
  ): Promise<{ status: number; challenge: string | undefined }> {
    const gate = openGate({ auth: { ...testAuth, ...more } });
    const verdict = await gate
      .guard()
      .check(fakeExchange({ headers: authorization === undefined ? {} : { authorization } }));
    const challenge = verdict.headers.find(([name]) => name === "WWW-Authenticate")?.[1];
    return { status: verdict.allowed ? 200 : verdict.status, challenge };
  }

  it("without credentials is a challenge without error", async () => {
    for (const value of [undefined, "", "Basic dXNlcjpwYXNz"])
      expect(await answer(value)).to.deep.equal({ status: 401, challenge: "Bearer" });
    expect(await answer(undefined, { realm: "api" })).to.deep.equal({ status: 401, challenge: 'Bearer realm="api"' });
  });

  it("with a bad token names invalid_token, and passes anonymously only without one", async () => {
    for (const value of ["Bearer", "Bearer x", `Bearer ${token}`, `Bearer ${"a".repeat(9000)}`]) {
      for (const optional of [false, true]) {
        const { status, challenge } = await answer(value, { optional, realm: "api" });
        expect(status).to.equal(401);
        expect(challenge).to.match(
          /^Bearer realm="api", error="invalid_token", error_description="[\x20-\x21\x23-\x5B\x5D-\x7E]+"$/,
        );
      }
    }
    expect(await answer(undefined, { optional: true })).to.deep.equal({ status: 200, challenge: undefined });
  });
});
