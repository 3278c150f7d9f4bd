import { DenialError, TokenError } from "@portcullis/core";
import { createGate } from "@portcullis/core/adapter";
import type { Gate, PortcullisOptions } from "@portcullis/core";
import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { decodeJwt } from "jose";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { rejectionOf } from "../support/rejection.js";

function openGate(tokens: PortcullisOptions["tokens"] | object = {}): Gate<unknown, object> {
  const gate = createGate<unknown, object>(
    {
      redis: "memory",
      logger: silentLogger,
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop", ...tokens },
    },
    () => ({}),
  );
  cleanUp(() => gate.close());
  return gate;
}

describe("a request for tokens", () => {
  const wrong: readonly [string, object][] = [
    ["no subject", { subject: undefined }],
    ["an empty subject", { subject: "" }],
    ["a list as subject", { subject: ["alice", "bob"] }],
    ["an ill-formed subject", { subject: "\ud800" }],
    ["a huge subject", { subject: "a".repeat(513) }],
    ["an empty organisation", { org: "" }],
    ["a list of claims", { claims: [] }],
    ["a claim that only the gate may set", { claims: { exp: 1e12 } }],
    ["another's organisation as a claim", { claims: { org_id: "acme" } }],
    ["a scope with a blank", { scopes: ["a b"] }],
    ["scopes as a text", { scopes: "orders:read" }],
    ["claims that no header can carry", { claims: { text: "x".repeat(5000) } }],
    ["an address that is no text", { device: { ip: 1 } }],
    ["a mistyped name", { scope: ["a"] }],
  ];
  for (const [what, request] of wrong) {
    it(`is a TypeError with ${what}, and starts no session`, async () => {
      const gate = openGate();
      const call = gate.tokens.issue({ subject: "alice", ...request });
      expect(await rejectionOf(call)).to.be.instanceOf(TypeError);
      expect(await gate.sessions.list("alice")).to.be.empty;
    });
  }

  it("keeps hostile names and texts as they are, within bounds", async () => {
    const gate = openGate();
    for (const subject of ["a:b", "*", "__proto__", "{x}", "constructor", "\u0000\r\n", "\u{1f600}"]) {
      const { accessToken } = await gate.tokens.issue({
        subject,
        claims: JSON.parse('{"__proto__":{"admin":true},"list":[],"nothing":null}') as Record<string, unknown>,
        device: { userAgent: "x".repeat(10_000), label: "\ud800 \u0000" },
      });
      const verified = await gate.verify(accessToken);
      expect(verified).to.have.nested.property("auth.subject", subject);
      expect(verified).not.to.have.nested.property("auth.claims.admin");
      const [session, ...others] = await gate.sessions.list(subject);
      expect(others).to.be.empty;
      expect(session).to.have.property("userAgent").with.length(512);
      expect(session).to.have.property("label", "\ufffd \u0000");
    }
    expect(await gate.sessions.revokeAll("*")).to.equal(1);
    expect(await gate.sessions.list("a:b")).to.have.length(1);
  });

  it("contains the user, the audience and the lifetime, and nothing more", async () => {
    const gate = openGate({ audience: ["shop", "stock"], accessLifetime: "5m" });
    const request = { subject: "alice", org: "acme", scopes: ["a", "b"], claims: { plan: "pro" } };
    const { accessToken, sessionId, response, expiresIn } = await gate.tokens.issue(request);
    const { iat, exp, jti, ...claims } = decodeJwt(accessToken);
    expect(claims).to.deep.equal({
      iss: testIssuer,
      sub: "alice",
      aud: ["shop", "stock"],
      sid: sessionId,
      scope: "a b",
      org_id: "acme",
      plan: "pro",
    });
    expect(jti).to.be.a("string").with.length(32);
    expect((exp ?? 0) - (iat ?? 0)).to.equal(300);
    expect(response).to.include({ token_type: "Bearer", scope: "a b", access_token: accessToken });
    expect(expiresIn).to.be.within(298, 300);
  });
});

describe("a request to refresh", () => {
  it("may bring other roles, and another place", async () => {
    const gate = openGate();
    const { refreshToken } = await gate.tokens.issue({ subject: "alice", scopes: ["a"], device: { ip: "192.0.2.1" } });
    const refreshed = await gate.tokens.refresh(refreshToken, {
      scopes: ["b"],
      claims: { plan: "pro" },
      device: { ip: "192.0.2.2" },
    });
    expect(decodeJwt(refreshed.accessToken)).to.include({ scope: "b", plan: "pro" });
    expect((await gate.sessions.list("alice"))[0]).to.include({ ip: "192.0.2.2" });
    const again = await gate.tokens.refresh(refreshed.refreshToken);
    expect(decodeJwt(again.accessToken)).to.include({ scope: "b", plan: "pro" });
    expect(await rejectionOf(gate.tokens.refresh(again.refreshToken, { scopes: ["c"] }))).to.be.instanceOf(TypeError);
    await gate.tokens.refresh(again.refreshToken);
  });

  it("is refused with whatever is no refresh token of this gate", async () => {
    const gate = openGate();
    const stranger = openGate({ signingKey: "another-secret-".padEnd(32, "x") });
    const { accessToken, refreshToken } = await gate.tokens.issue({ subject: "alice" });
    const theirs = await stranger.tokens.issue({ subject: "alice" });
    const [head = "", body = "", signature = ""] = refreshToken.split(".");
    const none = Buffer.from('{"alg":"none","typ":"rt+jwt"}').toString("base64url");
    for (const token of [
      accessToken,
      theirs.refreshToken,
      `${head}.${body}.${signature.slice(0, -1)}`,
      `${head}.${body}.`,
      `${none}.${body}.`,
      `${refreshToken}=`,
      ` ${refreshToken}`,
      "a.b.c",
      "x".repeat(100_000),
      [refreshToken],
      { token: refreshToken },
    ] as string[]) {
      const error = await rejectionOf(gate.tokens.refresh(token));
      expect(error).to.be.instanceOf(TokenError).and.include({ code: "invalid_grant", status: 400 });
      expect(String(error)).not.to.include(refreshToken.slice(0, 20));
    }
    for (const token of [undefined, ""])
      expect(await rejectionOf(gate.tokens.refresh(token))).to.include({ code: "invalid_request", status: 400 });
    await gate.tokens.refresh(refreshToken);
  });
});

describe("the answer of a token endpoint", () => {
  it("has the form of RFC 6749 for every error of these methods, and is undefined for others", async () => {
    const gate = openGate({ maxSessions: 1, onLimit: "refuse" });
    const refused = await rejectionOf(gate.tokens.refresh("none.of.ours"));
    expect(gate.tokens.answer(refused)).to.deep.equal({
      status: 400,
      headers: { "Cache-Control": "no-store" },
      body: {
        error: "invalid_grant",
        error_description: "The refresh token is expired, revoked, already used, or was not issued here",
      },
    });
    expect(JSON.parse(JSON.stringify(refused))).to.have.property("error", "invalid_grant");
    await gate.tokens.issue({ subject: "alice" });
    const full = await rejectionOf(gate.tokens.issue({ subject: "alice" }));
    expect(full).to.be.instanceOf(DenialError);
    expect(gate.tokens.answer(full)).to.deep.include({ status: 409 });
    expect(gate.tokens.answer(new Error("another"))).to.equal(undefined);
  });
});

describe("cookies of tokens", () => {
  it("have the safe attributes, and are read back", async () => {
    const { tokens } = openGate();
    const issued = await tokens.issue({ subject: "alice" });
    const [access = "", refresh = "", ...others] = tokens.cookies.write(issued);
    expect(others).to.be.empty;
    expect(access).to.match(/^__Host-access=[\w.-]+; Path=\/; Max-Age=\d+; HttpOnly; Secure; SameSite=Strict$/);
    expect(refresh).to.match(/^__Secure-refresh=[\w.-]+; Path=\/auth; Max-Age=\d+; HttpOnly; Secure; SameSite=Strict$/);
    expect(tokens.cookies.readRefresh(`a=b; ${refresh.split(";")[0] ?? ""}; c=d`)).to.equal(issued.refreshToken);
    for (const header of [undefined, "", "refresh=x", "__Secure-refresh=", "__Secure-refresh=a; __Secure-refresh=b"])
      expect(tokens.cookies.readRefresh(header), String(header)).to.equal(undefined);
    for (const cookie of tokens.cookies.clear()) expect(cookie).to.match(/^[\w-]+=; Path=\/\w*; Max-Age=0; HttpOnly/);
  });

  it("may have other names, and may leave the access token to the page", async () => {
    const { tokens } = openGate({
      cookies: { access: false, refresh: "r", refreshPath: "/token", sameSite: "lax", secure: false },
    });
    const cookies = tokens.cookies.write(await tokens.issue({ subject: "alice" }));
    expect(cookies).to.have.length(1);
    expect(cookies[0]).to.match(/^r=[\w.-]+; Path=\/token; Max-Age=\d+; HttpOnly; SameSite=Lax$/);
  });
});
