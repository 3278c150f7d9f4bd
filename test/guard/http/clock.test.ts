import { randomUUID } from "node:crypto";
import { accessTokenHash, createDpopClient, testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { forge, hs256 } from "../../auth/support/mint.js";
import { allAdapters } from "../../support/app.js";
import type { AnyOptions, RunningApp, TestApp } from "../../support/app.js";
import { form, send } from "../../support/http.js";
import type { TestAnswer } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

const { now: right } = Date;
const hour = 3600;
/** By how much the clock of this process is wrong. */
let aheadSeconds = 0;

const limits = [{ name: "ip", per: "ip", limit: 1000, window: "1m" }] as const;
const disagreement = "its clock and ours disagree";

function seconds(): number {
  return Math.floor(right() / 1000);
}

/** A token of five minutes by the right clock. */
function token(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): string {
  const usual = {
    iss: testIssuer,
    aud: testAudience,
    sub: "alice",
    jti: randomUUID(),
    iat: seconds(),
    exp: seconds() + 300,
  };
  return forge({ alg: "HS256", ...header }, { ...usual, ...claims }, hs256);
}

function codeOf({ status, json }: TestAnswer): string {
  return `${status} ${(json as { code?: string } | undefined)?.code ?? ""}`.trim();
}

for (const adapter of allAdapters) {
  describe(`a process with a wrong clock, on ${adapter.name}`, function () {
    this.timeout(30_000);

    beforeEach(() => {
      aheadSeconds = 0;
      Date.now = () => right() + aheadSeconds * 1000;
    });
    afterEach(() => {
      Date.now = right;
    });

    function start(options: AnyOptions = {}, use?: TestApp["use"]): Promise<RunningApp> {
      return adapter.start({
        options: {
          redis: testRedisUrl(),
          prefix: freshPrefix(),
          deadline: 2000,
          auth: testAuth,
          logger: silentLogger,
          ...options,
        },
        ...(use === undefined ? {} : { use }),
        routes: { "GET /me": ({ auth }) => ({ subject: auth?.subject }), "POST /me": () => ({}) },
      });
    }

    async function ask({ url }: RunningApp, presented: string): Promise<string> {
      return codeOf(await send(`${url}/me`, { token: presented }));
    }

    function knowsBetter({ gate }: RunningApp): Promise<void> {
      return until(() => gate.health().store.findings.includes(disagreement));
    }

    for (const [how, ahead] of [
      ["ahead", hour],
      ["behind", -hour],
    ] as const) {
      it(`an hour ${how} from its start on refuses no good token as invalid`, async () => {
        aheadSeconds = ahead;
        const app = await start();
        await knowsBetter(app);
        const answer = await send(`${app.url}/me`, { token: token() });
        expect(codeOf(answer)).to.equal("503 store_unavailable");
        expect(answer.headers["retry-after"]).to.equal("1");
        expect(answer.headers["www-authenticate"]).to.equal(undefined);
        expect(app.gate.health().status).to.equal("degraded");
        aheadSeconds = 0;
        expect(await ask(app, token())).to.equal("200");
      });

      it(`that jumps to an hour ${how} knows it at once, without another question to Redis`, async () => {
        const app = await start();
        const known = token();
        expect(await ask(app, known)).to.equal("200");
        aheadSeconds = ahead;
        expect(await ask(app, known), "a token seen before").to.equal("503 store_unavailable");
        expect(await ask(app, token()), "a new token").to.equal("503 store_unavailable");
        aheadSeconds = 0;
        expect(await ask(app, known)).to.equal("200");
      });

      it(`an hour ${how} still refuses tokens that are invalid at any time`, async () => {
        const app = await start({ limits });
        aheadSeconds = ahead;
        await knowsBetter(app);
        const iat = seconds() + ahead;
        const times = { iat, exp: iat + 300 };
        const bad = {
          "a wrong signature": token(times).slice(0, -6) + "AAAAAA",
          "another audience": token({ ...times, aud: "other" }),
          "a refresh token": token({ ...times, token_type: "refresh" }),
          "no exp": token({ exp: undefined }),
          "an exp that is none": token({ exp: "soon" }),
          "too long a life": token({ ...times, exp: iat + 400 * 86_400 }),
          "another type": token(times, { typ: "logout+jwt" }),
        };
        for (const [name, presented] of Object.entries(bad))
          expect(await ask(app, presented), name).to.equal("401 token_invalid");
        expect(codeOf(await send(`${app.url}/me`))).to.equal("401 credentials_required");
      });
    }

    it("says 503 for exp, nbf, iat and maxTokenAge, and 401 for the same once the clock is right", async () => {
      const app = await start({ auth: { ...testAuth, maxTokenAge: "10m" } });
      const cases: readonly [string, number, Record<string, unknown>][] = [
        ["exp", hour, {}],
        ["nbf", -hour, { nbf: seconds(), iat: seconds() - hour - 60, exp: seconds() + 300 }],
        ["iat", -hour, {}],
        ["maxTokenAge", hour / 4, { exp: seconds() + 4 * hour }],
        ["iat missing", hour / 4, { iat: undefined }],
      ];
      for (const [name, ahead, claims] of cases) {
        aheadSeconds = ahead;
        await knowsBetter(app);
        expect(await ask(app, token(claims)), name).to.equal("503 store_unavailable");
      }
      aheadSeconds = 0;
      for (const claims of [
        { iat: seconds() - 400, exp: seconds() - 100 },
        { nbf: seconds() + 100 },
        { iat: seconds() + 100 },
        { iat: seconds() - 1200 },
      ])
        expect(await ask(app, token(claims)), JSON.stringify(claims)).to.equal("401 token_invalid");
    });

    it("says 503 for a DPoP proof and for a sign-in of another time", async () => {
      const publicUrl = "https://api.test";
      const client = await createDpopClient();
      const app = await start({ publicUrl, revocation: false, auth: { ...testAuth, dpop: true } });
      const bound = token({ cnf: { jkt: client.thumbprint }, exp: seconds() + 4 * hour });
      const prove = async (claims: object = {}): Promise<TestAnswer> => {
        const ath = accessTokenHash(bound);
        const proof = await client.proof({ htm: "GET", htu: `${publicUrl}/me`, ath, iat: seconds(), ...claims });
        return send(`${app.url}/me`, { headers: { authorization: `DPoP ${bound}`, dpop: proof } });
      };
      expect(codeOf(await prove())).to.equal("200");
      aheadSeconds = hour;
      await knowsBetter(app);
      expect(codeOf(await prove())).to.equal("503 store_unavailable");
      expect(codeOf(await prove({ htm: "POST" }))).to.equal("401 dpop_proof_invalid");
      aheadSeconds = 0;
      expect(codeOf(await prove({ iat: seconds() - hour }))).to.equal("401 dpop_proof_invalid");
      // By a clock that is behind, a proof of an hour ago is fresh, and Redis remembers its use no longer.
      aheadSeconds = -hour;
      await knowsBetter(app);
      expect(codeOf(await prove({ iat: seconds() - hour }))).to.equal("503 store_unavailable");
      aheadSeconds = 0;

      const recent = await start({ revocation: false }, (gate) => [
        gate.guard(),
        gate.requireRecentAuth({ maxAge: "5m" }),
      ]);
      const signedIn = (ago: number): string => token({ auth_time: seconds() - ago, exp: seconds() + 4 * hour });
      expect(await ask(recent, signedIn(10))).to.equal("200");
      aheadSeconds = hour;
      await knowsBetter(recent);
      expect(await ask(recent, signedIn(10))).to.equal("503 store_unavailable");
      expect(await ask(recent, token({ exp: seconds() + 4 * hour }))).to.equal("401 authentication_stale");
      aheadSeconds = 0;
      expect(await ask(recent, signedIn(hour))).to.equal("401 authentication_stale");
    });

    it("confirms no logout that it takes for too late or too early, and ends sessions all the same", async () => {
      const tokens = { signingKey: testSecret, issuer: testIssuer, audience: testAudience };
      const app = await start({ tokens, keySecret: "k".repeat(32) }, (gate) => [
        gate.routes.revoke(),
        gate.routes.backchannelLogout({ audience: "web" }),
        gate.guard(),
      ]);
      const live = token();
      const event = { "http://schemas.openid.net/event/backchannel-logout": {} };
      const { refreshToken } = await app.gate.tokens.issue({ subject: "bob" });
      expect(await ask(app, live)).to.equal("200");
      aheadSeconds = hour;
      expect((await form(`${app.url}/revoke`, { token: live })).status).to.equal(503);
      aheadSeconds = -hour;
      const logout = token({ aud: "web", events: event }, { typ: "logout+jwt" });
      expect((await form(`${app.url}/backchannel-logout`, { logout_token: logout })).status).to.equal(503);
      aheadSeconds = 400 * 24 * hour;
      expect((await form(`${app.url}/revoke`, { token: refreshToken })).status).to.equal(200);
      aheadSeconds = 0;
      expect(await ask(app, live)).to.equal("200");
      expect((await form(`${app.url}/revoke`, { token: live })).status).to.equal(200);
      expect(await ask(app, live)).to.equal("401 token_invalid");
      await rejectionOf(app.gate.tokens.refresh(refreshToken));
      const expired = token({ iat: seconds() - 400, exp: seconds() - 100 });
      expect((await form(`${app.url}/revoke`, { token: expired })).status).to.equal(200);
    });

    it("cannot know it alone: without Redis an expired token is one", async () => {
      const app = await start({ redis: "memory" });
      aheadSeconds = hour;
      expect(await ask(app, token())).to.equal("401 token_invalid");
    });
  });
}
