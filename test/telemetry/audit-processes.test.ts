import { randomUUID } from "node:crypto";
import type { IssuedTokens } from "@portcullis/core";
import { nowSeconds, testAudience, testIssuer, testSecret, signToken } from "@portcullis/testkit";
import { expect } from "chai";
import type { AnyOptions } from "../support/app.js";
import { form, send } from "../support/http.js";
import { freshPrefix, operate, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";
import type { AuditedServer } from "./support/audited-servers.js";
import { startAuditedServer } from "./support/audited-servers.js";

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout";

describe("the audit trails of two processes", function () {
  this.timeout(30_000);
  let options: AnyOptions;
  let here: AuditedServer;
  let there: AuditedServer;

  before(async () => {
    options = {
      redis: testRedisUrl(),
      prefix: freshPrefix(),
      deadline: 5000,
      auth: { secret: testSecret, algorithms: ["HS256"], issuer: testIssuer, audience: [testAudience, "shop-web"] },
      revocation: { cutoffMargin: 0 },
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAudience, overlap: 0, lostAnswer: 0 },
      limits: [{ name: "user", per: "user", limit: 50, window: "1m" }],
    };
    [here, there] = await Promise.all([startAuditedServer("Express", options), startAuditedServer("Koa", options)]);
  });

  after(() => Promise.all([here.end(), there.end()]));

  async function signIn(subject: string): Promise<IssuedTokens> {
    const tokens = (await here.call(["tokens", "issue"], { subject })) as IssuedTokens;
    expect(here.heard().map(({ type }) => type)).to.deep.equal(["sign_in"]);
    return tokens;
  }

  const statusAt = async ({ url }: AuditedServer, token: string): Promise<number> =>
    (await send(`${url}/me`, { token })).status;

  it("tell each event once, in the process that acted", async () => {
    // A token is used again in both at once.
    const { refreshToken, accessToken, sessionId } = await signIn("alice");
    await here.call(["tokens", "refresh"], refreshToken);
    const reuses = Array.from({ length: 10 }, () => [refreshToken]);
    const endings = await Promise.all([here, there].map((one) => one.callEach(["tokens", "refresh"], reuses)));
    expect(new Set(endings.flat().map((ending) => "error" in ending && ending.error))).to.deep.equal(
      new Set(["invalid_grant"]),
    );
    expect([...here.heard(), ...there.heard()]).to.deep.equal([
      { type: "refresh_reused", principal: "alice", sessionId },
    ]);
    expect(await Promise.all([here, there].map((one) => statusAt(one, accessToken)))).to.deep.equal([401, 401]);

    // Signed out everywhere by one process.
    const bob = await signIn("bob");
    expect(await statusAt(there, bob.accessToken)).to.equal(200);
    expect(await here.call(["sessions", "revokeAll"], "bob")).to.equal(1);
    expect(await statusAt(there, bob.accessToken)).to.equal(401);
    expect(await there.call(["tokens", "refresh"], bob.refreshToken)).to.equal("invalid_grant");
    expect(here.heard().map(({ type }) => type)).to.deep.equal(["sign_out_everywhere"]);
    expect(there.heard()).to.deep.equal([]);

    // Over HTTP.
    const eve = await signIn("eve");
    const logout = await send(`${there.url}/logout`, { method: "POST", token: eve.accessToken });
    expect(logout.status).to.equal(200);
    expect(there.heard().map(({ type }) => type)).to.deep.equal(["token_revoked", "sign_out"]);
    expect(await statusAt(here, eve.accessToken)).to.equal(401);
    expect(here.heard()).to.deep.equal([]);
  });

  it("tell of a back-channel logout where it ended the sessions, and not each time that its token comes again", async () => {
    const dan = await signIn("dan");
    const iat = nowSeconds();
    const claims = {
      aud: "shop-web",
      sub: "dan",
      jti: randomUUID(),
      iat,
      exp: iat + 120,
      events: { [logoutEvent]: {} },
    };
    const logoutToken = await signToken(claims);
    const logOut = async ({ url }: AuditedServer): Promise<number> =>
      (await form(`${url}/backchannel-logout`, { logout_token: logoutToken })).status;
    expect(await logOut(here)).to.equal(200);
    expect(await Promise.all([here, there].map((one) => statusAt(one, dan.accessToken)))).to.deep.equal([401, 401]);
    expect(here.heard().map(({ type }) => type)).to.deep.equal(["sign_out_everywhere"]);
    for (let count = 0; count < 5; count += 1)
      expect([await logOut(here), await logOut(there)]).to.deep.equal([400, 400]);
    expect(here.heard()).to.deep.equal([]);
    // This process learns only then that the token was used.
    expect(there.heard().map(({ type }) => type)).to.deep.equal(["sign_out_everywhere"]);
  });

  it("tell overrides, blocks and their ends where an operator made them", async () => {
    const { accessToken } = await signIn("carol");
    await here.call(["quotas", "setOverride"], "user", "carol", { limit: 0 });
    await until(async () => (await statusAt(there, accessToken)) === 429);
    await there.call(["quotas", "clearOverride"], "user", "carol");
    await until(async () => (await statusAt(here, accessToken)) === 200);
    await there.call(["quotas", "block"], "user", "carol", { for: "1h" });
    await until(async () => (await statusAt(here, accessToken)) === 429);
    await here.call(["quotas", "unblock"], "user", "carol");
    await until(async () => (await statusAt(there, accessToken)) === 200);
    const client = { policy: "user", key: "carol" };
    expect(here.heard()).to.deep.equal([
      { type: "limit_overridden", ...client, limit: 0 },
      { type: "client_unblocked", ...client },
    ]);
    expect(there.heard()).to.deep.equal([
      { type: "override_cleared", ...client },
      { type: "client_blocked", ...client, forSeconds: 3600 },
    ]);
  });

  it("tell a lock-out once in each process that refuses for it", async () => {
    const login = async ({ url }: AuditedServer): Promise<number> =>
      (await send(`${url}/login`, { method: "POST", headers: { "X-Account": "mallory" } })).status;
    const attempts = async (): Promise<number[]> => {
      const statuses: number[] = [];
      for (let index = 0; index < 5; index += 1) statuses.push(await login(here), await login(there));
      return statuses;
    };
    const typesOf = (one: AuditedServer): string[] => one.heard().map(({ type }) => type);
    expect(await attempts()).to.deep.equal([401, 401, 401, 401, 401, 429, 429, 429, 429, 429]);
    const burst = await Promise.all(Array.from({ length: 20 }, (_, index) => login(index % 2 === 0 ? here : there)));
    expect(new Set(burst)).to.deep.equal(new Set([429]));
    expect(typesOf(here)).to.deep.equal(["login_failed", "login_failed", "login_failed", "login_locked"]);
    expect(typesOf(there)).to.deep.equal(["login_failed", "login_failed", "login_locked"]);
    await here.call(["logins", "unblock"], { account: "mallory", ip: "127.0.0.1" });
    expect([await login(there), await login(here)]).to.deep.equal([401, 401]);
    // A failure is told when the response has ended.
    const later = { here: typesOf(here), there: typesOf(there) };
    await until(() => {
      later.here.push(...typesOf(here));
      later.there.push(...typesOf(there));
      return later.here.length > 1 && later.there.length > 0;
    });
    expect(later).to.deep.equal({ here: ["login_unblocked", "login_failed"], there: ["login_failed"] });
  });

  it("agree with Redis about what a killed process has revoked, and tell the rest where the calls are repeated", async () => {
    const redis = operate(testRedisUrl());
    const others = await there.call(["sessions", "count"]);
    const users = Array.from({ length: 200 }, (_, index) => `user-${index}`);
    const issued = await here.callEach(
      ["tokens", "issue"],
      users.map((subject) => [{ subject }]),
    );
    here.heard();
    there.heard();
    const told: string[] = [];
    const listen = (): void => {
      for (const event of here.heard()) if (event.type === "sign_out_everywhere") told.push(principalOf(event));
    };
    void here.callEach(
      ["sessions", "revokeAll"],
      users.map((subject) => [subject]),
    );
    await until(() => {
      listen();
      return told.length > 0;
    });
    await here.kill();
    listen();

    const cutOff = (await redis.keys(`${options.prefix}auth:cutoff:user-*`)).map((key) => key.split(":").at(-1));
    const statuses = await Promise.all(
      issued.map((ending) => statusAt(there, "value" in ending ? (ending.value as IssuedTokens).accessToken : "")),
    );
    const refused = users.filter((_, index) => statuses[index] === 401);
    expect(refused).to.have.members(cutOff);
    expect(new Set(told).size, "told twice").to.equal(told.length);
    // What was told has happened; what has happened may be missing.
    expect(refused).to.include.members(told);
    expect(there.heard()).to.deep.equal([]);

    // A session whose record the process has not deleted is over all the same.
    const lists = await there.callEach(
      ["sessions", "list"],
      refused.map((subject) => [subject]),
    );
    expect(lists).to.deep.equal(refused.map(() => ({ value: [] })));
    await there.callEach(
      ["sessions", "revokeAll"],
      users.map((subject) => [subject]),
    );
    expect(there.heard().map(principalOf)).to.have.members(users);
    expect(await there.call(["sessions", "count"])).to.equal(others);
  });
});

function principalOf(event: object): string {
  return String((event as { principal?: unknown }).principal);
}
