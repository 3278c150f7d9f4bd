import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { DenialError } from "@portcullis/core";
import type { Denied, DenialDetail } from "@portcullis/core";
import { cleanUp } from "../support/clean-up.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";
import type { FakeGate, FakeMiddleware, FakeOptions, FakeRequest } from "../support/fake-gate.js";
import { rejectionOf } from "../support/rejection.js";

interface Row {
  readonly title: string;
  readonly options?: FakeOptions;
  /** A function where they depend on the time. */
  readonly claims?: Record<string, unknown> | (() => Record<string, unknown>);
  readonly header?: Record<string, unknown>;
  readonly request?: FakeRequest;
  /** @default the guard of the gate */
  readonly middleware?: (gate: FakeGate) => readonly FakeMiddleware[];
  /** The whole cause. */
  readonly cause: string | RegExp;
}

/** A token with this header, which nobody has signed. */
function unsignedToken(header: object): string {
  return `${Buffer.from(JSON.stringify(header)).toString("base64url")}.e30.AA`;
}

const claims: readonly Row[] = [
  {
    title: "a token for another audience: both",
    claims: { aud: ["billing-api", "shop-api"] },
    cause: 'ERR_JWT_CLAIM_VALIDATION_FAILED: claim aud, expected "test-api", found "billing-api" and "shop-api"',
  },
  {
    title: "a token of another issuer: both",
    claims: { iss: "https://other.test" },
    cause: 'ERR_JWT_CLAIM_VALIDATION_FAILED: claim iss, expected "https://issuer.test", found "https://other.test"',
  },
  {
    title: "a token of an issuer that no list has: both",
    options: { auth: { issuers: [{ ...testAuth }, { ...testAuth, issuer: "https://second.test" }] } as never },
    claims: { iss: "https://other.test" },
    cause:
      'the gate does not accept the issuer of the token: claim iss, expected "https://issuer.test" or "https://second.test", found "https://other.test"',
  },
  {
    title: "a missing claim",
    options: { auth: { ...testAuth, requiredClaims: ["tenant"] } },
    cause: /: claim tenant, expected a value, found none$/,
  },
  {
    title: "an expired token: for how long",
    claims: () => ({ exp: nowSeconds() - 600 }),
    cause: /^ERR_JWT_EXPIRED: claim exp, expected a time in the future, found \d{3} s ago$/,
  },
  {
    title: "a token from the future: how far",
    claims: () => ({ iat: nowSeconds() + 600, exp: nowSeconds() + 900 }),
    cause:
      /^iat is in the future: claim iat, expected at most 5 s in the future, by auth\.clockTolerance, found \d{3} s in the future$/,
  },
  {
    title: "times in milliseconds",
    claims: () => ({ exp: (nowSeconds() + 300) * 1000 }),
    cause:
      /^the lifetime of the token exceeds auth\.maxLifetime: claim exp, expected at most 2592000 s after iat, found \d{13} s after iat$/,
  },
  {
    title: "a claim of another kind: both kinds",
    claims: { sub: { id: "seeded-name" } },
    cause: "the claim that names the user is not text: claim sub, expected text, found an object",
  },
  {
    title: "an identifier that is empty",
    claims: { jti: "" },
    cause: "jti is not a non-empty string: claim jti, expected text, found an empty text",
  },
  {
    title: "another algorithm: both",
    header: { alg: "HS512" },
    cause: 'ERR_JOSE_ALG_NOT_ALLOWED: header alg, expected "HS256", found "HS512"',
  },
  {
    title: "another secret",
    options: { auth: { ...testAuth, secret: "another-secret-".padEnd(64, "x") } },
    cause: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED: expected a signature by a key of auth, found alg "HS256", kid none',
  },
  {
    title: "a token with another use",
    claims: { token_use: "refresh" },
    cause: 'the token declares another use than access token: claim token_use, found "refresh"',
  },
  {
    title: "a token with another type",
    header: { typ: "logout+jwt" },
    cause: /^typ is not the type of an access token: header typ, expected "at\+jwt" or "JWT", found "logout\+jwt"$/,
  },
  {
    title: "a bound token where nothing is proven",
    claims: { cnf: { jkt: "x" } },
    cause:
      "cnf demands a proof that neither auth.dpop nor auth.certificateBound allows: claim cnf, expected no cnf, found jkt",
  },
  {
    title: "an audience in a claim of its own",
    options: { auth: { ...testAuth, audience: { claim: "client_id", values: ["web"] } } },
    claims: { client_id: "app" },
    cause: 'the token is for another audience: claim client_id, expected "web", found "app"',
  },
  {
    title: "the answer of validate()",
    options: { auth: { ...testAuth, validate: (() => "yes") as never } },
    cause: "auth.validate refuses the token: expected true, found text",
  },
  {
    title: "the policy that needs a subject",
    options: { limits: [{ name: "per-user", per: "user", limit: 1, window: "1m" }] },
    claims: { sub: undefined },
    cause:
      "the token has no subject, which a limit per user needs: claim sub, policy per-user, expected text, found none",
  },
];

const credentials: readonly Row[] = [
  {
    title: "no token: the places",
    request: { headers: {} },
    cause: "no credentials: expected a token in the header Authorization",
  },
  {
    title: "a header of another scheme: the scheme",
    request: { headers: { authorization: "Basic c2VlZGVkLXNlY3JldA==" } },
    cause: "no credentials: header Authorization, expected a token in the header Authorization, found the scheme Basic",
  },
  {
    title: "a header without a scheme: nothing of it",
    request: { headers: { authorization: "seeded-key" } },
    cause: "no credentials: header Authorization, expected a token in the header Authorization, found another scheme",
  },
  {
    title: "a credential that is no JWT: its shape",
    request: { headers: { authorization: 'Bearer "a.b.c"' } },
    cause: "the credential is not a JWT: expected three parts of base64url, found 7 characters in 3 parts, in quotes",
  },
  {
    title: "a word of a program without a token",
    request: { headers: { authorization: "Bearer undefined" } },
    cause: 'the credential is not a JWT: expected three parts of base64url, found "undefined"',
  },
  {
    title: "a token that is too large: both lengths",
    request: { headers: { authorization: `Bearer ${"a".repeat(9000)}` } },
    cause: "the token is longer than auth.maxTokenLength: expected at most 8192 characters, found 9000 characters",
  },
  {
    title: "a cookie from another origin: both",
    options: { auth: { ...testAuth, tokenFrom: { cookie: "t", origins: ["https://app.test"] } } },
    request: { method: "POST", headers: { cookie: "t=a.b.c", origin: "https://evil.test" } },
    cause:
      'a cookie on an unsafe method or a handshake, not from an allowed origin: header Origin, expected "https://app.test", found "https://evil.test"',
  },
  {
    title: "a cookie from an origin that is none: its length alone",
    options: { auth: { ...testAuth, tokenFrom: { cookie: "t", origins: ["https://app.test"] } } },
    request: {
      method: "POST",
      headers: { cookie: "t=a.b.c", origin: "https://${jndi:seeded}", "sec-fetch-site": "${jndi:seeded}" },
    },
    cause:
      'a cookie on an unsafe method or a handshake, not from an allowed origin: header Origin, expected "https://app.test", found text of 22 characters with Sec-Fetch-Site text of 14 characters',
  },
  {
    title: "a token whose header is no object",
    request: { headers: { authorization: `Bearer ${Buffer.from("[]").toString("base64url")}.e30.AA` } },
    cause: "the token cannot be verified: expected a JSON object as the header of the token, found another text",
  },
  {
    title: "a token with an extension: its name only if it is plain",
    request: { headers: { authorization: `Bearer ${unsignedToken({ alg: "HS256", crit: ["exp"], exp: 1 })}` } },
    cause: 'ERR_JOSE_NOT_SUPPORTED: header crit, expected none, found "exp"',
  },
  {
    title: "a token with an extension whose name is an attack on readers of logs: its length alone",
    request: { headers: { authorization: `Bearer ${unsignedToken({ alg: "HS256", crit: ['${x}" seeded\n'] })}` } },
    cause: "ERR_JOSE_NOT_SUPPORTED: header crit, expected none, found text of 13 characters",
  },
  {
    title: "two cookies of one name",
    options: { auth: { ...testAuth, tokenFrom: { cookie: "t" } } },
    request: { headers: { cookie: "t=a.b.c; t=d.e.f" } },
    cause: "two cookies carry a token: header Cookie t",
  },
];

const requirements: readonly Row[] = [
  {
    title: "missing scopes: those of the token too",
    claims: { scope: "orders:read" },
    middleware: (gate) => [gate.guard(), gate.requireScopes("orders:read", "orders:write")],
    cause: 'a required scope is missing: claim scope, expected "orders:read" and "orders:write", found "orders:read"',
  },
  {
    title: "a missing role",
    claims: { roles: ["clerk"] },
    middleware: (gate) => [gate.guard(), gate.requireRole("admin", "owner")],
    cause:
      'a required claim is missing, or its value is not accepted: claim roles or role, expected "admin" or "owner", found "clerk"',
  },
  {
    title: "a claim of another value: its kind alone",
    claims: { plan: "seeded-plan" },
    middleware: (gate) => [gate.guard(), gate.requireClaim("plan", "pro")],
    cause: 'a required claim is missing, or its value is not accepted: claim plan, expected "pro", found text',
  },
  {
    title: "a sign-in that is too old: its age",
    claims: () => ({ auth_time: nowSeconds() - 7200 }),
    middleware: (gate) => [gate.guard(), gate.requireRecentAuth({ maxAge: "1h" })],
    cause: /^the sign-in is too old or too weak: claim auth_time, expected at most 3600 s ago, found 72\d\d s ago$/,
  },
  {
    title: "a missing guard",
    middleware: (gate) => [gate.requireScopes("read")],
    cause: "no credentials: expected a user from guard() or authenticate() in front of this middleware, found none",
  },
  {
    title: "an Idempotency-Key that is missing",
    request: { method: "POST" },
    middleware: (gate) => [gate.idempotency({ required: true, caller: () => "c" })],
    cause:
      "the request has no Idempotency-Key: header Idempotency-Key, expected one text of 1 to 255 printable ASCII characters, found none",
  },
];

describe("the cause of a refusal", () => {
  for (const row of [...claims, ...credentials, ...requirements])
    it(`tells ${row.title}`, async () => {
      const { denied, heard, logged } = await refuse(row);
      const { cause } = new DenialError(denied);
      if (typeof row.cause === "string") expect(cause).to.equal(row.cause);
      else expect(cause).to.match(row.cause);
      // One line of printable ASCII, whatever was sent.
      expect(cause)
        .to.match(/^[\x20-\x7e]{1,500}$/)
        .and.not.include("seeded");
      const told = { code: denied.problem.code, status: denied.status, cause: denied.cause, detail: denied.detail };
      expect(heard).to.deep.equal([{ gate: logged[0]?.gate, ...told }]);
      expect(logged).to.deep.equal(heard);
    });

  it("tells the policy, whose requests it counts by a digest, and how long the client must wait", async () => {
    const limits = [
      { name: "per-address", per: "ip", limit: 100, window: "1h" },
      { name: "per-user", per: ["user", "ip"], limit: 1, window: "1m" },
    ] as const;
    const gate = openGate({ auth: testAuth, limits });
    const ask = async (sub: string): Promise<DenialDetail | undefined> => {
      const exchange = fakeExchange({ headers: { authorization: `Bearer ${await signToken({ sub })}` } });
      const verdict = await gate.guard().check(exchange);
      return verdict.allowed ? undefined : verdict.detail;
    };
    for (const sub of ["seeded-alice", "seeded-bob"]) expect(await ask(sub)).to.equal(undefined);
    const [alice, bob, again] = [await ask("seeded-alice"), await ask("seeded-bob"), await ask("seeded-alice")];
    expect(alice).to.include({ policy: "per-user", limit: 1, windowSeconds: 60 });
    expect(alice?.retryAfterSeconds).to.be.within(50, 60);
    expect(alice?.key).to.match(/^user ~[\w-]{24} and address ~[\w-]{24}$/);
    expect(again?.key).to.equal(alice?.key);
    expect(bob?.key).not.to.equal(alice?.key);
  });

  it("tells the throttle, the account and the address by digests, and how long the client must wait", async () => {
    const gate = openGate({});
    const throttle = gate.throttleLogin({ account: () => "seeded-account", pair: { limit: 1, window: "1m" } });
    expect((await throttle.check(fakeExchange())).allowed).to.equal(true);
    const verdict = await throttle.check(fakeExchange());
    const detail = verdict.allowed ? undefined : verdict.detail;
    expect(detail).to.include({ policy: "login", limit: 1, windowSeconds: 60 });
    expect(detail?.key).to.match(/^account ~[\w-]{24} and address ~[\w-]{24}$/);
    expect(detail?.retryAfterSeconds).to.be.within(50, 60);
    const nameless = await gate.throttleLogin({ account: () => ({}), name: "admins" }).check(fakeExchange());
    expect(nameless.allowed ? undefined : nameless.detail).to.deep.equal({
      ...{ policy: "admins", expected: "a text of 1 to 512 characters", found: "an object" },
    });
  });

  it("tells which record revokes a token", async () => {
    const gate = openGate({ auth: testAuth });
    const [one, other] = [await signToken(), await signToken({ sub: "bob" })];
    const verified = await gate.verify(one);
    if (verified.allowed) await gate.revocations.revoke(verified.auth);
    await gate.revocations.revokeSubject("bob");
    const causes = [];
    for (const token of [one, other]) {
      const verdict = await gate.verify(token);
      if (!verdict.allowed) causes.push(new DenialError(verdict).cause);
    }
    expect(causes[0]).to.equal("the token is revoked: reason a record of this token");
    expect(causes[1]).to.match(
      /^the token is revoked: claim iat, expected a time after the cut-off, found \d s before it, reason a cut-off of \d{4}-\d\d-\d\dT[\d:]+\.000Z$/,
    );
  });

  it("is in the error of middleware that throws, with its detail, and in no copy of the refusal", async () => {
    const gate = openGate({ auth: testAuth });
    const check = async (): Promise<unknown> => gate.guard({ onDeny: "throw" }).check(fakeExchange());
    const error = (await rejectionOf(check())) as DenialError;
    expect(error.cause).to.equal("no credentials: expected a token in the header Authorization");
    expect(error.detail).to.deep.equal({ expected: "a token in the header Authorization" });
    expect(JSON.stringify(error)).not.to.include("expected");
    const verdict = await gate.verify("nonsense");
    expect(verdict.allowed ? undefined : verdict.detail?.expected).to.equal("three parts of base64url");
    expect(JSON.stringify(verdict)).not.to.include("expected");
  });

  it("cuts off long texts of others, and shows no token that stands in their place", async () => {
    const token = await signToken();
    for (const iss of ["x".repeat(5000), "line\nbreak\u001b[31m", `before ${token}`]) {
      const { denied } = await refuse({ title: "", claims: { iss }, cause: "" });
      const { cause } = new DenialError(denied);
      expect(cause.length).to.be.lessThan(400);
      expect(cause)
        .to.match(/^[\x20-\x7e]+$/)
        .and.not.include(token.split(".")[1]);
    }
  });
});

interface Refusal {
  readonly denied: Denied;
  readonly heard: readonly unknown[];
  readonly logged: readonly { readonly gate?: unknown }[];
}

/** The refusal of one request, and what was heard and logged about it. */
async function refuse({ options, request, middleware, ...row }: Row): Promise<Refusal> {
  const [heard, logged]: [unknown[], object[]] = [[], []];
  const logger = {
    debug: (fields: object, message: string): void => {
      if (message === "portcullis: denied") logged.push(fields);
    },
    warn: () => undefined,
  };
  const gate = openGate({ auth: testAuth, logger, ...options });
  const listen = (message: unknown): void => void heard.push(message);
  const authorization = `Bearer ${await signToken(typeof row.claims === "function" ? row.claims() : row.claims, row.header)}`;
  const exchange = fakeExchange({ headers: { authorization }, ...request });
  subscribe("portcullis:denied", listen);
  cleanUp(() => unsubscribe("portcullis:denied", listen));
  for (const { check } of middleware?.(gate) ?? [gate.guard()]) {
    const verdict = await check(exchange);
    if (!verdict.allowed) {
      unsubscribe("portcullis:denied", listen);
      return { denied: verdict, heard, logged };
    }
  }
  throw new Error("passed");
}
