import { expect } from "chai";
import { DenialError, TokenError } from "@portcullis/core";
import { signToken, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import type { AnyOptions } from "../support/app.js";
import { describeOnEveryFramework } from "../support/every-gate.js";
import type { StartApp } from "../support/every-gate.js";
import { send } from "../support/http.js";
import { rejectionOf } from "../support/rejection.js";

const issuing = {
  auth: undefined,
  tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop" },
} satisfies Partial<AnyOptions>;

describeOnEveryFramework("sessions", (start: StartApp) => {
  it("issue tokens that the gate accepts, and list the session", async () => {
    const { url, gate } = await start(issuing);
    const tokens = await gate.tokens.issue({
      subject: "alice",
      scopes: ["orders:read"],
      claims: { plan: "pro" },
      device: { ip: "192.0.2.1", userAgent: "test", label: "laptop" },
    });
    const { status, json } = await send(`${url}/me`, { token: tokens.accessToken });
    expect(status).to.equal(200);
    expect(json).to.deep.include({ subject: "alice", scopes: ["orders:read"] });
    const [session, ...others] = await gate.sessions.list("alice");
    expect(others).to.be.empty;
    expect(session).to.include({ id: tokens.sessionId, ip: "192.0.2.1", userAgent: "test", label: "laptop" });
  });

  it("refresh, and end with every token when a refresh token is used again", async () => {
    const { url, gate } = await start({ ...issuing, tokens: { ...issuing.tokens, overlap: 0 } });
    const first = await gate.tokens.issue({ subject: "alice" });
    const second = await gate.tokens.refresh(first.refreshToken);
    expect(second.sessionId).to.equal(first.sessionId);
    for (const { accessToken: token } of [first, second])
      expect((await send(`${url}/me`, { token })).status).to.equal(200);
    expect(await rejectionOf(gate.tokens.refresh(first.refreshToken))).to.include({ code: "invalid_grant" });
    for (const { accessToken: token } of [first, second])
      expect((await send(`${url}/me`, { token })).status).to.equal(401);
    expect(await rejectionOf(gate.tokens.refresh(second.refreshToken))).to.be.instanceOf(TokenError);
    expect(await gate.sessions.list("alice")).to.be.empty;
  });

  it("give the same successor twice within the overlap", async () => {
    const { url, gate } = await start(issuing);
    const first = await gate.tokens.issue({ subject: "alice" });
    const [one, two] = await Promise.all([1, 2].map(() => gate.tokens.refresh(first.refreshToken)));
    expect(one?.refreshToken).to.equal(two?.refreshToken);
    expect((await send(`${url}/me`, { token: String(two?.accessToken) })).status).to.equal(200);
    await gate.tokens.refresh(one?.refreshToken);
    expect(await rejectionOf(gate.tokens.refresh(first.refreshToken))).to.be.instanceOf(TokenError);
  });

  it("end one by one, all others, and all at once; a sign-in right after works", async () => {
    const { url, gate } = await start(issuing);
    const all = await Promise.all([1, 2, 3, 4].map(() => gate.tokens.issue({ subject: "alice" })));
    const bob = await gate.tokens.issue({ subject: "bob" });
    const [a, b, c, d] = all as [(typeof all)[0], (typeof all)[0], (typeof all)[0], (typeof all)[0]];
    const status = async (token: string) => (await send(`${url}/me`, { token })).status;
    expect(await gate.sessions.revoke("bob", a.sessionId)).to.equal(false);
    expect(await status(a.accessToken)).to.equal(200);
    expect(await gate.sessions.revoke("alice", a.sessionId)).to.equal(true);
    expect(await status(a.accessToken)).to.equal(401);
    const verified = await gate.verify(b.accessToken);
    expect(await gate.sessions.revokeOthers(verified.allowed ? verified.auth : undefined)).to.equal(2);
    expect(await Promise.all([b, c, d].map(({ accessToken }) => status(accessToken)))).to.deep.equal([200, 401, 401]);
    expect(await gate.sessions.revokeAll("alice")).to.equal(1);
    expect(await status(b.accessToken)).to.equal(401);
    const again = await gate.tokens.issue({ subject: "alice" });
    expect(await status(again.accessToken)).to.equal(200);
    expect(await status(bob.accessToken)).to.equal(200);
  });

  it("end everywhere for a user of another issuer whose name is long or ill-formed", async () => {
    const { url, gate } = await start({ auth: testAuth, revocation: { cutoffMargin: 0 } });
    for (const sub of ["u".repeat(600), "\ud800"]) {
      const [token, other] = [await signToken({ sub, sid: "s1" }), await signToken({ sub })];
      const verified = await gate.verify(token);
      if (!verified.allowed) throw new Error(verified.cause);
      expect(await gate.sessions.list(verified.auth)).to.be.empty;
      expect(await gate.sessions.revokeOthers(verified.auth)).to.equal(0);
      expect(await gate.sessions.revokeAll(verified.auth)).to.equal(0);
      for (const one of [token, other]) expect((await send(`${url}/me`, { token: one })).status).to.equal(401);
    }
    expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(200);
  });

  it("end with all their tokens also where the tokens name no user", async () => {
    const { url, gate } = await start({ auth: testAuth });
    const tokens = await Promise.all(["s1", "s1", "s2"].map((sid) => signToken({ sub: undefined, sid })));
    const verified = await gate.verify(tokens[0]);
    if (!verified.allowed) throw new Error(verified.cause);
    expect(await gate.sessions.revoke(verified.auth)).to.equal(true);
    const statuses = await Promise.all(tokens.map(async (token) => (await send(`${url}/me`, { token })).status));
    expect(statuses).to.deep.equal([401, 401, 200]);
  });

  it("end with their organisation", async () => {
    const { url, gate } = await start(issuing);
    const member = await gate.tokens.issue({ subject: "alice", org: "acme" });
    const other = await gate.tokens.issue({ subject: "alice", org: "globex" });
    expect(await gate.sessions.revokeGroup("acme")).to.equal(1);
    expect((await send(`${url}/me`, { token: member.accessToken })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: other.accessToken })).status).to.equal(200);
    expect((await gate.sessions.list("alice")).map(({ org }) => org)).to.deep.equal(["globex"]);
  });

  it("are limited in number", async () => {
    const { gate } = await start({ ...issuing, tokens: { ...issuing.tokens, maxSessions: 2, onLimit: "refuse" } });
    await Promise.all([1, 2].map(() => gate.tokens.issue({ subject: "alice" })));
    const error = await rejectionOf(gate.tokens.issue({ subject: "alice" }));
    expect(error).to.be.instanceOf(DenialError);
    expect(error).to.include({ code: "session_limit", status: 409 });
  });
});
