import { expect } from "chai";
import { signToken } from "@portcullis/testkit";
import { describeOnEveryGate, withNodeAdapter } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { rejectionOf } from "../../support/rejection.js";

withNodeAdapter(describeOnEveryGate)("revocation", (start) => {
  it("refuses a revoked token at its next request, like any other bad token", async () => {
    const { url } = await start();
    const token = await signToken();
    const other = await signToken();
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
    expect((await send(`${url}/logout`, { method: "POST", token })).status).to.equal(204);
    const answer = await send(`${url}/me`, { token });
    expect(answer.status).to.equal(401);
    expect(answer.text).to.equal((await send(`${url}/me`, { token: "bad" })).text);
    expect((await send(`${url}/me`, { token: other })).status).to.equal(200);
  });

  it("refuses all tokens of a subject, and lets a later one pass", async () => {
    const { url, gate } = await start({ revocation: { cutoffMargin: 0 } });
    const [mine, unrelated] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
    const undated = await signToken({ sub: "alice", iat: undefined });
    const cutoff = await gate.revocations.revokeSubject("alice");
    for (const token of [mine, undated]) expect((await send(`${url}/me`, { token })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: unrelated })).status).to.equal(200);
    const later = await signToken({ sub: "alice", iat: cutoff + 1 });
    expect((await send(`${url}/me`, { token: later })).status).to.equal(200);
  });

  it("knows a token without jti by its signing input", async () => {
    const { url } = await start();
    const [one, two] = [await signToken({ jti: undefined, n: 1 }), await signToken({ jti: undefined, n: 2 })];
    await send(`${url}/logout`, { method: "POST", token: one });
    expect((await send(`${url}/me`, { token: one })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: two })).status).to.equal(200);
  });

  it("answers isRevoked", async () => {
    const { gate } = await start();
    expect(await gate.revocations.isRevoked({ jti: "j" })).to.equal(false);
    await gate.revocations.revoke({ jti: "j", expiresAt: Date.now() / 1000 + 60 });
    expect(await gate.revocations.isRevoked({ jti: "j" })).to.equal(true);
  });

  it("names the missing argument if there is no token to revoke", async () => {
    const { gate } = await start();
    for (const nothing of [
      undefined,
      { expiresAt: Number.NaN, jti: "j" },
      { expiresAt: 1e12 },
      { expiresAt: 1e12, jti: "" },
    ]) {
      const error: unknown = await rejectionOf(gate.revocations.revoke(nothing));
      expect(error).to.be.instanceOf(TypeError);
    }
  });

  it("accepts lives of any length when revoking", async () => {
    const { gate } = await start();
    for (const [index, expiresAt] of [1e308, Infinity, Date.now() / 1000 + 299.5, -5, 0].entries()) {
      await gate.revocations.revoke({ jti: `j${index}`, expiresAt });
    }
    expect(await gate.revocations.isRevoked({ jti: "j0" })).to.equal(true);
  });
});
