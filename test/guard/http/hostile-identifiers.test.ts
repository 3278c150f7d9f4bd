import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { hostileIdentifiers } from "../../support/hostile.js";
import { send } from "../../support/http.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

const stores = [
  ["on Redis", testRedisUrl],
  ["in process", () => "memory"],
] as const;

// Identifiers become keys without a framework: each store is tried on one of them.
for (const [index, adapter] of adapters.entries()) {
  for (const [name, redis] of stores.slice(index, index + 1)) {
    describe(`hostile identifiers, on ${adapter.name} ${name}`, function () {
      this.timeout(60_000);
      let app: RunningApp;
      let tokens: string[];

      before(async () => {
        expect(hostileIdentifiers.length).to.be.at.least(300);
        tokens = await Promise.all(hostileIdentifiers.map((id) => signToken({ jti: id, sub: id })));
        app = await adapter.start({
          options: {
            redis: redis(),
            prefix: freshPrefix(),
            auth: testAuth,
            deadline: 2000,
            limits: [
              { name: "user", per: "user", limit: 3, window: "1m" },
              { name: "key", per: (_raw, { auth }) => auth?.subject ?? "nobody", limit: 5, window: "1m" },
            ],
          },
          routes: {
            "GET /me": ({ auth, quotas }) => [auth?.jti, quotas.map(({ remaining }) => remaining)],
            "GET /shared": ({ auth, cache }) =>
              cache.getOrSet({ key: auth!.subject, shared: true }, () => [auth!.subject]),
            "GET /mine": ({ auth, cache }) => cache.forUser().getOrSet({ key: "k" }, () => [auth!.subject]),
          },
        });
      });
      after(() => app.close());

      const each = async (path: string, pick: (index: number) => boolean = () => true, method = "GET") =>
        Promise.all(
          tokens.map(async (token, index) => (pick(index) ? send(`${app.url}${path}`, { method, token }) : undefined)),
        );

      it("each has a limit of its own, as user and as key", async () => {
        const answers = await each("/me");
        answers.forEach((answer, index) => {
          expect(answer?.json, JSON.stringify(hostileIdentifiers[index])).to.deep.equal([
            hostileIdentifiers[index],
            [2, 4],
          ]);
        });
      });

      for (const path of ["/shared", "/mine"]) {
        it(`each has a cache entry of its own (${path})`, async () => {
          const answers = await each(path);
          answers.forEach((answer, index) => {
            expect(answer?.json, JSON.stringify(hostileIdentifiers[index])).to.deep.equal([hostileIdentifiers[index]]);
          });
        });
      }

      it("each is over its own limit, and over no other's", async () => {
        for (const answer of await each("/me", (index) => index % 2 === 0)) {
          if (answer !== undefined) expect(answer.status).to.equal(429);
        }
      });

      it("a token is revoked alone, and a subject's tokens alone", async () => {
        const fresh = await adapter.start({
          options: { redis: redis(), prefix: freshPrefix(), auth: testAuth, deadline: 2000 },
          routes: {
            "GET /me": () => "ok",
            "POST /logout": ({ auth }, gate) => gate.revocations.revoke(auth),
            "POST /everywhere": async ({ auth }, gate) => {
              await gate.revocations.revokeSubject(auth!);
            },
          },
        });
        try {
          const ask = (method: string, path: string, token: string) => send(`${fresh.url}${path}`, { method, token });
          const gone = (index: number) => index % 3 !== 0;
          await Promise.all(
            tokens.map(async (token, index) => {
              if (index % 3 === 1) expect((await ask("POST", "/logout", token)).status).to.equal(204);
              if (index % 3 === 2) expect((await ask("POST", "/everywhere", token)).status).to.equal(204);
            }),
          );
          await Promise.all(
            tokens.map(async (token, index) => {
              const { status } = await ask("GET", "/me", token);
              expect(status, JSON.stringify(hostileIdentifiers[index])).to.equal(gone(index) ? 401 : 200);
            }),
          );
        } finally {
          await fresh.close();
        }
      });
    });
  }
}
