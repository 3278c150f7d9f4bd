import { randomUUID } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { TestIssuer, nowSeconds, signToken, testAudience, testIssuer, testSecret } from "@portcullis/testkit";
import type { BackchannelLogout, IssuedTokens } from "@portcullis/core";
import { expect } from "chai";
import type { AnyOptions, TestApp } from "../support/app.js";
import { adapters } from "../support/app.js";
import { commonRoutes, describeOnEveryFramework } from "../support/every-gate.js";
import { form, send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";
import { until } from "../support/until.js";

const client = "shop-web";
const event = "http://schemas.openid.net/event/backchannel-logout";

type Claims = Readonly<Record<string, unknown>>;

/** A logout token as a provider makes it, but for what is given. */
const logoutToken = (issuer: TestIssuer, claims: Claims, header: Claims = {}): Promise<string> => {
  const iat = nowSeconds();
  const usual = { aud: client, sub: undefined, jti: randomUUID(), iat, exp: iat + 120, events: { [event]: {} } };
  return issuer.sign({ ...usual, ...claims }, { typ: "logout+jwt", ...header });
};
const accessToken = (issuer: TestIssuer, claims: Claims = {}): Promise<string> =>
  issuer.sign({ iat: nowSeconds() - 10, ...claims });

const authOf = (issuer: TestIssuer): AnyOptions["auth"] => ({
  issuer: issuer.url,
  audience: testAudience,
  remoteKeys: { allowPrivateAddresses: true },
});
const behind = (onLogout?: (logout: BackchannelLogout) => void | Promise<void>): Partial<TestApp> => ({
  use: (gate) => [gate.routes.backchannelLogout({ audience: client, onLogout }), gate.guard()],
});

let issuer: TestIssuer;
/** Not for the whole run: what is open at its end has been left open. */
function useIssuer(): void {
  before(async () => {
    issuer = await TestIssuer.start();
  });
  after(() => issuer.close());
}

describeOnEveryFramework("the back-channel logout endpoint", (start) => {
  useIssuer();

  it("ends all tokens that a user has so far", async () => {
    const { url } = await start({ auth: authOf(issuer), revocation: { cutoffMargin: 0 } }, behind());
    const [alice, bob] = [await accessToken(issuer), await accessToken(issuer, { sub: "bob" })];
    expect((await send(`${url}/me`, { token: alice })).status).to.equal(200);
    const answer = await form(`${url}/backchannel-logout`, {
      logout_token: await logoutToken(issuer, { sub: "alice" }),
    });
    expect([answer.status, answer.text, answer.headers["cache-control"]]).to.deep.equal([200, "", "no-store"]);
    expect((await send(`${url}/me`, { token: alice })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: bob })).status).to.equal(200);
    const later = await accessToken(issuer, { iat: nowSeconds() + 2 });
    expect((await send(`${url}/me`, { token: later })).status, "a sign-in after it").to.equal(200);
  });

  it("ends tokens up to the margin after it, counted once, and none that are later", async () => {
    const auth = { ...authOf(issuer), clockTolerance: "60s" } as AnyOptions["auth"];
    const { url } = await start({ auth, revocation: { cutoffMargin: "5s" } }, behind());
    const iat = nowSeconds();
    const [within, after] = [await accessToken(issuer, { iat: iat + 5 }), await accessToken(issuer, { iat: iat + 6 })];
    const token = await logoutToken(issuer, { sub: "alice", iat });
    expect((await form(`${url}/backchannel-logout`, { logout_token: token })).status).to.equal(200);
    const statuses = [
      (await send(`${url}/me`, { token: within })).status,
      (await send(`${url}/me`, { token: after })).status,
    ];
    expect(statuses).to.deep.equal([401, 200]);
  });

  it("ends the session alone that it names, whether it names the user or not", async () => {
    const { url } = await start({ auth: authOf(issuer) }, behind());
    for (const sub of [undefined, "alice"]) {
      const [sid, other] = [randomUUID(), randomUUID()];
      const ended = await accessToken(issuer, { sid });
      const going = await accessToken(issuer, { sid: other });
      const token = await logoutToken(issuer, { sid, sub });
      expect((await form(`${url}/backchannel-logout`, { logout_token: token })).status).to.equal(200);
      expect((await send(`${url}/me`, { token: ended })).status).to.equal(401);
      expect((await send(`${url}/me`, { token: going })).status).to.equal(200);
    }
  });

  it("refuses a token that was used before, and ends nothing by it", async () => {
    const prefix = freshPrefix();
    const options = { auth: authOf(issuer), prefix };
    const apps = [await start(options, behind())];
    if (apps[0]?.gate.health().store.kind === "redis") apps.push(await start(options, behind()));
    const token = await logoutToken(issuer, { sub: "alice", iat: nowSeconds() - 60 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        form(`${apps[index % apps.length]?.url}/backchannel-logout`, { logout_token: token }),
      ),
    );
    const count = (status: number) => answers.filter((answer) => answer.status === status).length;
    expect([count(200), count(400)]).to.deep.equal([1, 19]);
    expect((await send(`${apps[0]?.url}/me`, { token: await accessToken(issuer) })).status).to.equal(200);
  });

  it("ends the gate's own sessions that began before it, refreshed or not, and none that began later, also if it is repeated", async () => {
    const tokens = { signingKey: testSecret, issuer: testIssuer, audience: testAudience };
    const { url, gate } = await start({ auth: { audience: testAudience, clockTolerance: 0 }, tokens }, behind());
    const early = await gate.tokens.issue({ subject: "alice" });
    const statusOf = async ({ accessToken }: IssuedTokens) => (await send(`${url}/me`, { token: accessToken })).status;
    const logOut = async (iat: number, jti: string) => {
      const claims = { sub: "alice", aud: client, iat, jti, exp: iat + 600, events: { [event]: {} } };
      const logout_token = await signToken(claims, { typ: "logout+jwt" });
      return (await form(`${url}/backchannel-logout`, { logout_token })).status;
    };
    const past = nowSeconds() - 60;
    for (const expected of [200, 400]) {
      expect(await logOut(past, "late")).to.equal(expected);
      expect(await statusOf(early)).to.equal(200);
      expect(await gate.sessions.list("alice")).to.have.length(1);
    }

    const [session] = await gate.sessions.list("alice");
    const begun = session?.createdAt ?? 0;
    await until(() => nowSeconds() > begun);
    const refreshed = await gate.tokens.refresh(early.refreshToken);
    const ended: boolean[] = [];
    const verified = await gate.verify(refreshed.accessToken);
    if (!verified.allowed) throw new Error(verified.cause);
    gate.sessions.onRevoked((one) => ended.push(one.concerns(verified.auth)));
    expect(await logOut(begun, "then")).to.equal(200);
    expect([await statusOf(early), await statusOf(refreshed)]).to.deep.equal([401, 401]);
    expect(ended).to.include(true);
    const late = await gate.tokens.issue({ subject: "alice" });
    expect(await statusOf(late)).to.equal(200);
  });

  it("tells the application, which may say that it failed", async () => {
    const seen: BackchannelLogout[] = [];
    const { url } = await start(
      { auth: authOf(issuer) },
      behind((logout) => {
        seen.push(logout);
        if (seen.length === 1) throw new Error("the application's own sessions could not be ended");
      }),
    );
    const iat = nowSeconds() - 1;
    const token = await logoutToken(issuer, { sub: "alice", sid: "s1", iat });
    expect((await form(`${url}/backchannel-logout`, { logout_token: token })).status).to.equal(500);
    expect((await form(`${url}/backchannel-logout`, { logout_token: token })).status, "a retry").to.equal(200);
    const logout = { issuer: issuer.url, subject: "alice", sessionId: "s1", issuedAt: iat };
    expect(seen).to.deep.equal([logout, logout]);
  });

  it("refuses whatever is no logout token for this application, with one answer, and logs nobody out", async () => {
    const stranger = await TestIssuer.start();
    const causes = new Map<string, string>();
    const warned: string[] = [];
    const note = (message: unknown): void => {
      const { outcome, cause } = message as { outcome: string; cause?: string };
      causes.set(what, outcome === "refused" ? String(cause) : outcome);
    };
    let what = "";
    subscribe("portcullis:logout", note);
    try {
      const logger = {
        debug: () => undefined,
        warn(fields: object) {
          if ("cause" in fields) warned.push(String(fields.cause));
        },
      };
      const { url, gate } = await start({ auth: authOf(issuer), logger }, behind());
      const seconds = nowSeconds();
      const good = await logoutToken(issuer, { sub: "alice" });
      const [header, payload, signature = ""] = good.split(".");
      const wrong: Record<string, string> = {
        "an ID token": await issuer.sign({ aud: client }),
        "an access token": await accessToken(issuer),
        "another typ": await logoutToken(issuer, { sub: "alice" }, { typ: "at+jwt" }),
        "no typ": await logoutToken(issuer, { sub: "alice" }, { typ: undefined }),
        "a nonce": await logoutToken(issuer, { sub: "alice", nonce: "n" }),
        "a nonce that is null": await logoutToken(issuer, { sub: "alice", nonce: null }),
        "no events": await logoutToken(issuer, { sub: "alice", events: undefined }),
        "other events": await logoutToken(issuer, { sub: "alice", events: { "http://x": {} } }),
        "events that are text": await logoutToken(issuer, { sub: "alice", events: event }),
        "an event that is text": await logoutToken(issuer, { sub: "alice", events: { [event]: "yes" } }),
        "neither sub nor sid": await logoutToken(issuer, {}),
        "an empty sub": await logoutToken(issuer, { sub: "" }),
        "a sid that is a number": await logoutToken(issuer, { sub: "alice", sid: 7 }),
        "another audience": await logoutToken(issuer, { sub: "alice", aud: "another" }),
        "the API's audience": await logoutToken(issuer, { sub: "alice", aud: testAudience }),
        "no jti": await logoutToken(issuer, { sub: "alice", jti: undefined }),
        "no iat": await logoutToken(issuer, { sub: "alice", iat: undefined }),
        "a future iat": await logoutToken(issuer, { sub: "alice", iat: seconds + 60 }),
        "no exp": await logoutToken(issuer, { sub: "alice", exp: undefined }),
        "a past exp": await logoutToken(issuer, { sub: "alice", iat: seconds - 300, exp: seconds - 100 }),
        "a life of a week": await logoutToken(issuer, { sub: "alice", exp: seconds + 604_800 }),
        "another issuer": await logoutToken(stranger, { sub: "alice" }),
        "another issuer's name": await logoutToken(stranger, { sub: "alice", iss: issuer.url }),
        "a changed signature": `${header}.${payload}.${signature.replace(/^./, (one) => (one === "A" ? "B" : "A"))}`,
        "no signature": `${Buffer.from('{"alg":"none","typ":"logout+jwt"}').toString("base64url")}.${payload}.`,
        "no token": "",
        "not a token": "hello",
      };
      const texts = new Set<string>();
      for (const [name, token] of Object.entries(wrong)) {
        what = name;
        const answer = await form(`${url}/backchannel-logout`, { logout_token: token });
        expect(answer.status, what).to.equal(400);
        expect(answer.headers["cache-control"]).to.equal("no-store");
        texts.add(answer.text);
      }
      expect([...texts]).to.have.length(1);
      what = "no form field";
      expect((await form(`${url}/backchannel-logout`, {})).status).to.equal(400);
      // Operators learn what was missing: by the event, the metric, and the log once for each cause.
      for (const [which, cause] of Object.entries({
        "an ID token": "typ is not logout+jwt",
        "a nonce": "the token has a nonce, which only ID tokens have",
        "no events": "events does not contain the logout event",
        "neither sub nor sid": "the token has neither a user nor sid",
        "another audience": "ERR_JWT_CLAIM_VALIDATION_FAILED: aud",
        "no jti": "jti is missing",
        "no iat": "iat is missing",
        "a past exp": "ERR_JWT_EXPIRED",
        "a changed signature": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
        "not a token": "logout_token is not a JWT",
        "no form field": "the form has no logout_token, or several",
      }))
        expect(causes.get(which), which).to.equal(cause);
      for (const which of Object.keys(wrong)) expect(causes.get(which), which).to.be.a("string").and.not.equal("");
      expect(new Set(warned).size).to.equal(warned.length);
      expect(new Set(warned)).to.deep.equal(new Set(causes.values()));
      const counted = gate.metrics().find(({ name }) => name === "portcullis_logouts_total")?.samples;
      expect(counted?.map(({ labels, value }) => [labels.outcome, value])).to.deep.equal([
        ["refused", Object.keys(wrong).length + 1],
      ]);
      what = "good";
      expect((await send(`${url}/me`, { token: await accessToken(issuer) })).status).to.equal(200);
      expect((await form(`${url}/backchannel-logout`, { logout_token: good })).status).to.equal(200);
      expect(causes.get("good")).to.equal("ended");
    } finally {
      unsubscribe("portcullis:logout", note);
      await stranger.close();
    }
  });
});

for (const adapter of adapters) {
  describe(`the back-channel logout endpoint on ${adapter.name}`, () => {
    useIssuer();
    const cleanUp: (() => unknown)[] = [];
    afterEach(async () => {
      for (const clean of cleanUp.splice(0)) await clean();
    });
    const start = async (options: Partial<AnyOptions>, rest: Partial<TestApp>) => {
      const given = { redis: "memory", auth: authOf(issuer), logger: silentLogger, ...options } as AnyOptions;
      const app = await adapter.start({ options: given, routes: commonRoutes, ...rest });
      cleanUp.push(() => app.close());
      return app;
    };

    it("tells the users of several issuers apart", async () => {
      const second = await TestIssuer.start("ES256");
      cleanUp.push(() => second.close());
      const remoteKeys = { allowPrivateAddresses: true };
      const issuers = [issuer, second].map(({ url }) => ({ issuer: url, remoteKeys }));
      const auth: AnyOptions["auth"] = { issuers, audience: testAudience };
      const { url } = await start({ auth, redis: testRedisUrl(), prefix: freshPrefix(), deadline: 1000 }, behind());
      const [ours, theirs] = [await accessToken(issuer), await accessToken(second)];
      const logout = await logoutToken(second, { sub: "alice" });
      expect((await form(`${url}/backchannel-logout`, { logout_token: logout })).status).to.equal(200);
      expect((await send(`${url}/me`, { token: theirs })).status).to.equal(401);
      expect((await send(`${url}/me`, { token: ours })).status).to.equal(200);
    });

    it("knows a user only by the claim that access tokens name users by, and else the session", async () => {
      const seen: BackchannelLogout[] = [];
      const auth = { ...authOf(issuer), subjectClaim: ["oid", "sub"] } as AnyOptions["auth"];
      const { url } = await start(
        { auth },
        behind((logout) => void seen.push(logout)),
      );
      const logOut = async (claims: Record<string, unknown>): Promise<number> =>
        (await form(`${url}/backchannel-logout`, { logout_token: await logoutToken(issuer, claims) })).status;
      const status = async (token: string): Promise<number> => (await send(`${url}/me`, { token })).status;
      const [alice, bob] = [
        await accessToken(issuer, { sub: "pair-1", oid: "alice", sid: "s1", iat: nowSeconds() - 10 }),
        await accessToken(issuer, { sub: "pair-2", oid: "bob", sid: "s2", iat: nowSeconds() - 10 }),
      ];
      expect([
        await logOut({ sub: "pair-1" }),
        await logOut({ sub: "", oid: "" }),
        await logOut({ oid: 5 }),
      ]).to.deep.equal([...[400, 400, 400]]);
      expect([await status(alice), await status(bob)]).to.deep.equal([200, 200]);
      expect(await logOut({ sub: "pair-1", oid: "alice" })).to.equal(200);
      expect([await status(alice), await status(bob)]).to.deep.equal([401, 200]);
      expect(await logOut({ sub: "alice", sid: "s2" })).to.equal(200);
      expect(await status(bob)).to.equal(401);
      expect(seen.map(({ subject, sessionId }) => [subject, sessionId])).to.deep.equal([
        ["alice", undefined],
        [undefined, "s2"],
      ]);
    });

    it("answers 503 when nothing was recorded, and hears the provider when it tries again", async () => {
      const { url } = await start({ redis: "redis://127.0.0.1:1" }, behind());
      const token = await logoutToken(issuer, { sub: "alice" });
      for (let round = 0; round < 2; round += 1) {
        const answer = await form(`${url}/backchannel-logout`, { logout_token: token });
        expect([answer.status, answer.headers["retry-after"]]).to.deep.equal([503, "1"]);
        expect((answer.json as { error: string }).error).to.equal("temporarily_unavailable");
      }
    });

    it("answers 503 while the provider's keys are not there", async () => {
      const late = await TestIssuer.start();
      cleanUp.push(() => late.close());
      late.trouble = "error";
      const { url } = await start({ auth: authOf(late) }, behind());
      const token = await logoutToken(late, { sub: "alice" });
      expect((await form(`${url}/backchannel-logout`, { logout_token: token })).status).to.equal(503);
    });

    it("accepts tokens without a typ only if told to", async () => {
      const use: TestApp["use"] = (gate) => [
        gate.routes.backchannelLogout({ audience: [client, "other"], path: "/logout", requireType: false }),
      ];
      const { url } = await start({}, { use });
      const token = await logoutToken(issuer, { sub: "alice" }, { typ: undefined });
      expect((await form(`${url}/logout`, { logout_token: token })).status).to.equal(200);
    });

    it("names the missing option at the start", async () => {
      const refused = async (options: Partial<AnyOptions>, route: unknown) =>
        rejectionOf(start(options, { use: (gate) => [gate.routes.backchannelLogout(route as { audience: string })] }));
      expect(await refused({}, {})).to.match(/audience is required: the client id/);
      expect(await refused({ revocation: false }, { audience: client })).to.match(/revocation must not be false/);
      expect(await refused({}, { audience: client, requireType: 1 })).to.match(/requireType must be true or false/);
      expect(await refused({}, { audience: client, onLogout: 1 })).to.match(/onLogout must be a function/);
    });
  });
}
