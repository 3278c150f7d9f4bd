import { createHash } from "node:crypto";
import { expect } from "chai";
import { nowSeconds, testAudience } from "@portcullis/testkit";
import { createTokenFactory } from "@portcullis/core/testing";
import type { TokenFactory } from "@portcullis/core/testing";
import type { AnyOptions, TestApp } from "../../support/app.js";
import { commonRoutes, describeOnEveryGate } from "../../support/every-gate.js";
import { send } from "../../support/http.js";

const routes: TestApp["routes"] = {
  ...commonRoutes,
  "GET /mine": ({ auth, cache }) => cache.forUser().getOrSet({ key: "k" }, () => ({ of: auth?.issuer })),
  "POST /everywhere": async ({ auth }, gate) => {
    await gate.revocations.revokeSubject(auth!);
  },
};

describeOnEveryGate("issuers with keys of their own, and the same names for other users and tokens,", (start) => {
  const factories: readonly TokenFactory[] = ["a", "b", "c"].map((name) =>
    createTokenFactory({ issuer: `https://${name}.test`, audience: testAudience }),
  );

  function options(more: object = {}): Partial<AnyOptions> {
    const issuers = factories.map(({ auth: { issuer, secret, algorithms } }) => ({ issuer, secret, algorithms }));
    return {
      auth: { audience: testAudience, issuers, ...more },
      limits: [{ name: "user", per: "user", limit: 3, window: "1m" }],
    };
  }

  const sign = (index: number, claims: object = {}) =>
    factories[index]!.sign({ sub: "same", jti: "same", iat: nowSeconds() - 10, ...claims });

  it("never meet in a limit, a cache or a revocation", async () => {
    const { url } = await start(options(), { routes });
    const tokens = await Promise.all(factories.map((_, index) => sign(index)));
    for (const [index, token] of tokens.entries()) {
      const { json } = await send(`${url}/mine`, { token });
      expect(json).to.deep.equal({ of: factories[index]!.auth.issuer });
    }
    // Each user has a limit of three to itself: one is used, two are left.
    for (const token of tokens.slice(1)) {
      expect((await send(`${url}/me`, { token })).status).to.equal(200);
    }
    expect((await send(`${url}/logout`, { method: "POST", token: tokens[0]! })).status).to.equal(204);
    expect((await send(`${url}/me`, { token: tokens[0]! })).status).to.equal(401);
    expect((await send(`${url}/everywhere`, { method: "POST", token: tokens[1]! })).status).to.equal(204);
    expect((await send(`${url}/me`, { token: await sign(1, { jti: "another" }) })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: tokens[2]! })).status).to.equal(200);
    expect((await send(`${url}/me`, { token: tokens[2]! })).status).to.equal(429);
  });

  it("never meet even where one is shared with other services, and another names its users after it", async () => {
    const [shared, other] = factories.map(({ auth: { issuer } }) => issuer);
    const { url } = await start(options({ sharedIssuer: shared }), { routes });
    const digest = createHash("sha256").update(other!).digest("hex").slice(0, 32);
    // What the keys of the other issuer's user "same" are called, as the name of a user of the shared one.
    const lookalike = await sign(0, { sub: `iss-${digest}.same`, jti: `iss-${digest}.same` });
    const victim = await sign(1);
    expect((await send(`${url}/mine`, { token: lookalike })).json).to.deep.equal({ of: shared });
    expect((await send(`${url}/mine`, { token: victim })).json).to.deep.equal({ of: other });
    expect((await send(`${url}/everywhere`, { method: "POST", token: lookalike })).status).to.equal(204);
    expect((await send(`${url}/me`, { token: victim })).status).to.equal(200);
    expect((await send(`${url}/logout`, { method: "POST", token: victim })).status).to.equal(204);
    expect((await send(`${url}/me`, { token: await sign(1, { jti: "another" }) })).status).to.equal(429);
  });

  it("never vouch for each other: a token is good only by the key of the issuer it names", async () => {
    const { url } = await start(options(), { routes });
    for (const [index, factory] of factories.entries())
      for (const { auth } of factories) {
        const token = await factory.sign({ iss: auth.issuer });
        const { status } = await send(`${url}/me`, { token });
        expect(status).to.equal(auth.issuer === factories[index]!.auth.issuer ? 200 : 401);
      }
  });
});
