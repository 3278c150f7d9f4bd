import { createTokenFactory } from "@portcullis/core/testing";
import { portcullis } from "@portcullis/express";
import { expect } from "chai";

describe("the token factory for tests of applications", () => {
  it("signs tokens that a gate with its options accepts, and that a gate with other options refuses", async () => {
    const [tokens, others] = [createTokenFactory(), createTokenFactory({ subject: "bob" })];
    const gate = portcullis({ redis: "memory", auth: tokens.auth });
    const verdict = await gate.verify(await tokens.sign({ scope: "a b" }));
    expect(verdict.allowed && [verdict.auth.subject, verdict.auth.scopes]).to.deep.equal(["test-user", ["a", "b"]]);
    expect((await gate.verify(await others.sign())).allowed).to.equal(false);
    await gate.close();
  });

  it("signs with a given secret, for a service that runs with it, and takes none that is too short", async () => {
    const secret = "s".repeat(32);
    const names = { issuer: "https://id.example.com", audience: "orders-api" };
    const gate = portcullis({ redis: "memory", auth: { secret, algorithms: ["HS256"], ...names } });
    expect((await gate.verify(await createTokenFactory({ secret, ...names }).sign())).allowed).to.equal(true);
    expect(() => createTokenFactory({ secret: "short" }))
      .to.throw(RangeError)
      .with.property("code", "option_invalid");
    await gate.close();
  });

  it("makes tokens that are wrong in one way", async () => {
    const tokens = createTokenFactory({ issuer: "https://a.test", audience: "a", lifetimeSeconds: 60 });
    const gate = portcullis({ redis: "memory", auth: { ...tokens.auth, requireJti: true } });
    for (const claims of [{ exp: 1 }, { exp: undefined }, { aud: "b" }, { iss: "b" }, { jti: undefined }]) {
      expect((await gate.verify(await tokens.sign(claims))).allowed, JSON.stringify(claims)).to.equal(false);
    }
    expect((await gate.verify(await tokens.sign({}, { typ: "logout+jwt" }))).allowed).to.equal(false);
    expect((await gate.verify(await tokens.sign())).allowed).to.equal(true);
    await gate.close();
  });
});
