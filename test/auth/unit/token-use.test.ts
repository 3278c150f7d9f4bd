import { randomUUID } from "node:crypto";
import { testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { rejectionOf } from "../../support/rejection.js";
import { admit, openGate, refuse } from "../../support/fake-gate.js";
import { claimsWith, forge, hs256, show, withClaims, withHeader } from "../support/mint.js";

type Row = readonly [library: string, claims: Record<string, unknown>, header?: Record<string, unknown>];

/** What issuers write into the tokens that are not for APIs. */
const others: readonly Row[] = [
  ["djangorestframework-simplejwt, dj-rest-auth, django-ninja-jwt", { token_type: "refresh", user_id: 1 }],
  ["Flask-JWT-Extended", { type: "refresh", fresh: false, csrf: randomUUID() }],
  ["Casdoor", { tokenType: "refresh-token", owner: "built-in" }],
  ["Keycloak, refresh", { typ: "Refresh", azp: "web" }],
  ["Keycloak, offline", { typ: "Offline", azp: "web" }],
  ["Keycloak, ID", { typ: "ID", azp: "web", at_hash: "x" }],
  ["Keycloak, logout", { typ: "Logout" }],
  ["Keycloak, identity cookie", { typ: "Serialized-ID" }],
  ["Keycloak, client registration", { typ: "InitialAccessToken" }],
  ["Keycloak, client registration", { typ: "RegistrationAccessToken" }],
  ["Keycloak, actions by mail", { typ: "verify-email" }],
  ["Keycloak, actions by mail", { typ: "reset-credentials" }],
  ["Amazon Cognito", { token_use: "id", "cognito:username": "alice" }],
  ["NestJS and Express recipes", { type: "refreshToken" }],
  ["NestJS and Express recipes", { tokenType: "refresh_token" }],
  ["NestJS and Express recipes", { type: "RESET_PASSWORD" }],
  ["NestJS and Express recipes", { type: "resetPassword" }],
  ["NestJS and Express recipes", { type: "VERIFY_EMAIL" }],
  ["NestJS and Express recipes", { type: "emailVerification" }],
  ["Guardian of Elixir", { typ: "refresh" }],
  ["Authlib, RFC 9068's neighbours", {}, { typ: "rt+jwt" }],
  ["OpenID Connect Back-Channel Logout", {}, { typ: "logout+jwt" }],
  ["RFC 8693", { token_type: "urn:ietf:params:oauth:token-type:refresh_token" }],
  ["RFC 8693", { token_type: "urn:ietf:params:oauth:token-type:id_token" }],
  ["in the header", {}, { typ: "JWT", token_use: "refresh" }],
  ["in the header", {}, { use: "refresh" }],
  ["in the header", {}, { type: "id" }],
  ["with two words for a token", { type: "refresh_token+jwt" }],
  ["with two words for a token", { typ: "ID-Token-JWT" }],
  ["in a list", { token_type: ["jwt", "refresh"] }],
  ["in another spelling of the name", { tokenUse: "refresh" }],
  ["in another spelling of the name", { "token-type": "Refresh Token" }],
  ["in another spelling of the name", { TokenType: "REFRESHTOKEN" }],
  // Links in mails and messages.
  ["Devise", { type: "confirmation" }],
  ["Devise", { type: "unlock" }],
  ["Devise", { type: "invitation_token" }],
  ["ASP.NET Identity", { type: "EmailConfirmation" }],
  ["ASP.NET Identity", { type: "ResetPassword" }],
  ["ASP.NET Identity", { type: "ChangePhoneNumber" }],
  ["ASP.NET Identity", { type: "ChangeEmail" }],
  ["Supabase", { type: "signup" }],
  ["Supabase", { type: "invite" }],
  ["Supabase", { type: "recovery" }],
  ["Supabase", { type: "email_change" }],
  ["Supabase", { type: "magiclink" }],
  ["django-allauth and its recipes", { type: "email-confirmation" }],
  ["django-allauth and its recipes", { type: "account_activation" }],
  ["NestJS and Express recipes", { type: "forgot_password" }],
  ["NestJS and Express recipes", { type: "FORGOT_PASSWORD_TOKEN" }],
  ["NestJS and Express recipes", { type: "activation" }],
  ["NestJS and Express recipes", { type: "activateAccount" }],
  ["NestJS and Express recipes", { type: "confirmEmail" }],
  ["NestJS and Express recipes", { tokenType: "user-invitation" }],
  ["NestJS and Express recipes", { type: "set_password" }],
  ["NestJS and Express recipes", { type: "unsubscribe" }],
  ["Keycloak, actions by mail", { typ: "execute-actions" }],
  ["Keycloak, actions by mail", { typ: "idp-verify-account-via-email" }],
  ["Keycloak, actions by mail", { typ: "update-email" }],
  ["Keycloak, actions by mail", { typ: "ORGIVT" }],
  // Sign-ins that have yet to be finished.
  ["passwordless recipes", { type: "magic link" }],
  ["passwordless recipes", { type: "magic-link-token" }],
  ["passwordless recipes", { type: "otp" }],
  ["before the second factor: Auth0", { type: "mfa_token" }],
  ["before the second factor", { type: "mfa" }],
  ["before the second factor", { type: "2fa" }],
  ["before the second factor", { type: "2fa_pending" }],
  ["before the second factor", { token_use: "mfa-challenge" }],
  ["before the second factor", { type: "TwoFactorAuth" }],
  ["before the second factor", { type: "pre_auth" }],
  // Parts of flows.
  ["an authorization code", { type: "authorization_code" }],
  ["an authorization code", { token_use: "auth_code" }],
  ["RFC 7523", { type: "client_assertion" }],
  ["against forged requests", { type: "csrf" }],
  // Media types of JWTs, in the header and in claims.
  ...[
    ...["dpop+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "kb+jwt"],
    ...["entity-statement+jwt", "application/dpop+jwt", "statuslist+jwt", "vc+sd-jwt", "DC+SD-JWT", "rt+jwt"],
    ...["oauth-client-attestation+jwt", "client-authentication+jwt", "openid4vci-proof+jwt", "trust-mark+jwt"],
  ].flatMap((typ): Row[] => [
    ["RFC 8725 3.11", {}, { typ }],
    ["RFC 8725 3.11", { typ }],
    ["RFC 8725 3.11", { token_type: typ }],
  ]),
  ...(["typ", "type", "token_type", "tokenType", "token_use", "use"] as const).flatMap((name) =>
    ["refresh", "Refresh_Token", "offline", "id", "ID-Token", "logout", "registration", "reset", "verification"].map(
      (word): Row => ["any", { [name]: word }],
    ),
  ),
];

/** What applications and issuers write into access tokens, into claims of the same names. */
const access: readonly Row[] = [
  ["djangorestframework-simplejwt", { token_type: "access" }],
  ["djangorestframework-simplejwt, sliding", { token_type: "sliding" }],
  ["Flask-JWT-Extended", { type: "access", fresh: true }],
  ["Keycloak", { typ: "Bearer" }],
  ["Keycloak, bound", { typ: "DPoP" }],
  ["Casdoor", { tokenType: "access-token" }],
  ["Amazon Cognito", { token_use: "access" }],
  ["RFC 9068", {}, { typ: "at+jwt" }],
  ["RFC 9068", {}, { typ: "application/at+jwt" }],
  ["RFC 8693", { token_type: "urn:ietf:params:oauth:token-type:access_token" }],
  ["an application", { type: "customer" }],
  ...[
    ...["access", "Access_Token", "accesstoken+jwt", "Bearer", "at+jwt", " AT+JWT ", "session", "sliding", "untyped"],
    ...["api", "api-key", "app", "user", "guest", "anonymous", "admin", "service", "machine", "m2m", "client"],
    ...["client_credentials", "impersonation", "delegation", "web", "mobile", "email", "password", "phone", "account"],
    ...["personal", "business", "organization", "employee", "supplier", "member", "invited", "registered", "verified"],
    ...["mfa_verified", "mfa-complete", "2fa_verified", "step-up", "elevated", "mfauser", "update", "change", "set"],
    ...["code", "state", "sig", "enc", "magician", "inviter", "recoverable", "confirmed", "activated", "jwt+app"],
  ].flatMap((word): Row[] => [
    ["a word of its own", { type: word }],
    ["a word of its own", { token_use: word }],
  ]),
  ["an application", { type: "app", use: "api" }],
  ["an application", { type: "registered", typ: "resettable", use: "identity" }],
  ["an application", { type: "token", token_type: "JWT", typ: "jwt", token_use: "" }],
  ["an application", { type: { refresh: true }, typ: 5, token_type: null, use: [], token_use: [7, null, {}] }],
  ["an application", { kind: "refresh", scope: "refresh id logout", data: { type: "refresh" }, types: ["refresh"] }],
  ["an application", { type: "a".repeat(5000) }],
  ["an application", { type: "r\u00e9fresh" }],
];

describe("a token that declares another use than access token", () => {
  const gate = openGate({ auth: testAuth });
  for (const [library, claims, header] of others) {
    const parts = [claims, header].filter((part) => part !== undefined && Object.keys(part).length > 0);
    it(`is refused as ${parts.map(show).join(" and ")} (${library})`, async () => {
      const denial = await refuse(gate, forge({ alg: "HS256", ...header }, claimsWith(claims), hs256));
      expect(denial.status).to.equal(401);
      expect(denial.problem.code).to.equal("token_invalid");
      expect(denial.cause).to.match(/(?:is not the type of an|declares another use than) access token$/);
      const verdict = await gate.verify(forge({ alg: "HS256", ...header }, claimsWith(claims), hs256));
      expect(verdict.allowed).to.be.false;
    });
  }
});

describe("an access token", () => {
  const gate = openGate({ auth: testAuth });
  for (const [library, claims, header] of access) {
    it(`passes with ${show(claims).slice(0, 90)} ${header === undefined ? "" : show(header)} (${library})`, async () => {
      await admit(gate, forge({ alg: "HS256", ...header }, claimsWith(claims), hs256));
    });
  }

  it("is not issued with a claim that would have it refused", async () => {
    const issuing = openGate({
      keySecret: "k".repeat(32),
      auth: testAuth,
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAudience },
    });
    for (const claims of [{ type: "refresh" }, { token_type: "id_token" }, { use: ["reset"] }])
      expect(await rejectionOf(issuing.tokens.issue({ subject: "alice", claims })), show(claims))
        .to.be.instanceOf(TypeError)
        .with.property("message")
        .that.matches(/access token/);
    // The word of the application.
    const { accessToken } = await issuing.tokens.issue({ subject: "alice", claims: { type: "customer", use: "api" } });
    await admit(issuing, accessToken);
  });
});

describe("the confirmation claim (cnf) of a token", () => {
  const jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
  const certificate = { "x5t#S256": "b".repeat(43) };
  const publicUrl = "https://api.test";
  const onlyDpop = openGate({ publicUrl, auth: { ...testAuth, dpop: true } });
  const mustDpop = openGate({ publicUrl, auth: { ...testAuth, dpop: { required: true } } });
  const onlyCertificates = openGate({ auth: { ...testAuth, certificateBound: true } });
  const both = openGate({ publicUrl, auth: { ...testAuth, dpop: true, certificateBound: true } });
  const neither = openGate({ auth: testAuth });

  /** The cause for which a token is refused that comes as a Bearer token. */
  async function causeOf(gate: typeof neither, cnf: unknown): Promise<string> {
    return (await refuse(gate, withClaims({ cnf }))).cause;
  }

  const bound = "a DPoP-bound token was sent as a Bearer token";
  const unproven = "cnf demands a proof that neither auth.dpop nor auth.certificateBound allows";

  it("may have members beside the key that are not understood (RFC 7800 3.1)", async () => {
    for (const more of [{ "urn:acme:level": 3 }, { osc: {} }, { kid: "k" }, { jwk: {} }, { "x5t#S256": null }]) {
      const cnf = { jkt, ...more };
      // It was accepted for what it is, and then wants its proof.
      for (const gate of [onlyDpop, mustDpop, both]) expect(await causeOf(gate, cnf), show(cnf)).to.equal(bound);
      expect(await causeOf(neither, cnf)).to.equal(unproven);
      expect(await causeOf(onlyCertificates, cnf)).to.equal(unproven);
      await admit(onlyCertificates, withClaims({ cnf: { ...more, ...certificate } }));
    }
  });

  it("must be proven in each way that is known", async () => {
    const cnf = { jkt, ...certificate };
    expect(await causeOf(onlyDpop, cnf)).to.equal(unproven);
    expect(await causeOf(onlyCertificates, cnf)).to.equal(unproven);
    expect(await causeOf(both, cnf)).to.equal(bound);
    expect(await causeOf(mustDpop, certificate)).to.equal(unproven);
    for (const wrong of [
      { jkt: "short" },
      { jkt: 5 },
      { jkt: [jkt] },
      { jkt, "x5t#S256": "short" },
      { jkt, "x5t#S256": 5 },
    ])
      for (const gate of [onlyDpop, both]) expect(await causeOf(gate, wrong), show(wrong)).to.equal(unproven);
  });

  it("refuses the token if the gate can verify none of its methods", async () => {
    const unknown = [{ kid: "k" }, { jwk: {} }, { jwe: "x" }, { jku: "https://id.test/k" }, { "urn:acme:level": 3 }];
    for (const cnf of [
      ...unknown,
      {},
      { jkt: null },
      { jkt: null, "x5t#S256": null },
      Object.fromEntries([["__proto__", { jkt }]]),
    ])
      for (const gate of [neither, onlyDpop, mustDpop, onlyCertificates, both])
        expect(await causeOf(gate, cnf), show(cnf)).to.equal(unproven);
    for (const cnf of [null, "x", 7, true, [], [{ jkt }]])
      for (const gate of [neither, both]) expect(await causeOf(gate, cnf), show(cnf)).to.equal("cnf is not an object");
  });

  it("is the key alone where a proof is required", async () => {
    expect((await refuse(mustDpop, withHeader({ alg: "HS256" }))).cause).to.match(/not bound to a key/);
    const strictBoth = openGate({ publicUrl, auth: { ...testAuth, dpop: { required: true }, certificateBound: true } });
    expect(await causeOf(strictBoth, certificate)).to.match(/not bound to a key/);
  });
});
