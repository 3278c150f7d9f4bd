import { expect } from "chai";
import { accessTokenHash, createDpopClient, signToken, testAuth } from "@portcullis/testkit";
import type { DpopClient } from "@portcullis/testkit";
import { allAdapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { send } from "../../support/http.js";

const publicUrl = "https://api.example.com";

for (const adapter of allAdapters) {
  describe(`where both schemes are accepted on ${adapter.name}, the challenge uses the scheme of the request`, () => {
    let client: DpopClient;
    let app: RunningApp;

    before(async () => {
      client = await createDpopClient();
      app = await adapter.start({
        options: { redis: "memory", publicUrl, auth: { ...testAuth, dpop: { algorithms: ["ES256"] } } },
        use: (gate) => [
          gate.guard(),
          gate.when({ path: "/scope" }, gate.requireScopes("a", "b")),
          gate.when({ path: "/any" }, gate.requireAnyScope("a", "b")),
          gate.when({ path: "/recent" }, gate.requireRecentAuth({ maxAge: "5m", acr: "phr" })),
        ],
        routes: { "GET /me": () => "ok", "POST /logout": ({ auth }, gate) => gate.revocations.revoke(auth) },
      });
    });
    after(() => app.close());

    async function challenge(path: string, token: string, scheme: "Bearer" | "DPoP"): Promise<unknown> {
      const htu = `${publicUrl}${path}`;
      const dpop =
        scheme === "DPoP" ? { dpop: await client.proof({ htm: "GET", htu, ath: accessTokenHash(token) }) } : {};
      const { headers } = await send(`${app.url}${path}`, {
        headers: { authorization: `${scheme} ${token}`, ...dpop },
      });
      return headers["www-authenticate"];
    }

    const bound = (claims: object = {}) => signToken({ cnf: { jkt: client.thumbprint }, ...claims });
    const scope = 'error="insufficient_scope", scope="a b"';
    const stale =
      'error="insufficient_user_authentication", error_description="A more recent or stronger sign-in is required", acr_values="phr", max_age="300"';
    const invalid =
      'error="invalid_token", error_description="The access token is malformed, expired, revoked or not meant for this API"';
    const algs = 'algs="ES256"';

    it("for a scope that is missing and a sign-in that is stale", async () => {
      for (const [path, said] of [
        ["/scope", scope],
        ["/any", scope],
        ["/recent", stale],
      ] as const) {
        expect(await challenge(path, await bound(), "DPoP")).to.equal(`Bearer, DPoP ${said}, ${algs}`);
        expect(await challenge(path, await signToken(), "Bearer")).to.equal(`Bearer ${said}, DPoP ${algs}`);
      }
    });

    it("for a token that is revoked, malformed or too large", async () => {
      const revoked = { cnf: { jkt: client.thumbprint }, jti: "revoked" };
      await app.gate.revocations.revoke({ jti: "revoked", expiresAt: Math.floor(Date.now() / 1000) + 600 });
      const byDpop = `Bearer, DPoP ${invalid}, ${algs}`;
      expect(await challenge("/me", await bound(revoked), "DPoP")).to.equal(byDpop);
      for (const token of ["", "nonsense", "a.b.c", "x".repeat(9000)]) {
        expect(await challenge("/me", token, "DPoP"), token.slice(0, 9)).to.equal(byDpop);
        expect(await challenge("/me", token, "Bearer"), token.slice(0, 9)).to.equal(`Bearer ${invalid}, DPoP ${algs}`);
      }
    });
  });
}
