import { signToken, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import type { AuditEvent, LoginAttempt, QuotaKeyPart } from "../../packages/core/src/index.js";
import { LockOuts } from "../../packages/core/src/login/lock-outs.js";
import type { FakeGate, FakeOptions } from "../support/fake-gate.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";
import { rejectionOf } from "../support/rejection.js";

const issuing = {
  tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop", overlap: 0, lostAnswer: 0 },
} satisfies FakeOptions;
const perAddress = { name: "ip", per: "ip", limit: 5, window: "1m" } as const;

describe("the audit trail", () => {
  let events: AuditEvent[];
  beforeEach(() => {
    events = [];
  });

  function open(options: FakeOptions = {}): FakeGate {
    return openGate({ ...issuing, limits: [perAddress], audit: (event) => events.push(event), ...options });
  }

  /** The events since the last call, without their times. */
  function heard(): Omit<AuditEvent, "at">[] {
    return events.splice(0).map(({ at, ...event }) => {
      expect(at).to.be.within(Date.now() - 60_000, Date.now());
      return event;
    });
  }

  function counted(gate: FakeGate): Record<string, number> {
    const metric = gate.metrics().find(({ name }) => name === "portcullis_security_events_total");
    return Object.fromEntries(
      (metric?.samples ?? []).map(({ labels, value }): [string, number] => [String(labels.type), value]),
    );
  }

  it("names user and session at sign-in, sign-out, and sign-out everywhere", async () => {
    const gate = open();
    const device = { ip: "192.0.2.1" };
    const first = await gate.tokens.issue({ subject: "alice", org: "acme", device });
    const second = await gate.tokens.issue({ subject: "alice" });
    expect(heard()).to.deep.equal([
      { type: "sign_in", principal: "alice", sessionId: first.sessionId, org: "acme", ip: "192.0.2.1" },
      { type: "sign_in", principal: "alice", sessionId: second.sessionId, org: undefined, ip: undefined },
    ]);
    const verified = await gate.verify(first.accessToken);
    if (!verified.allowed) throw new Error(verified.cause);
    await gate.sessions.revokeOthers(verified.auth);
    await gate.sessions.revoke(verified.auth);
    const cutoff = await gate.revocations.revokeSubject("bob");
    await gate.sessions.revokeAll("alice");
    await gate.sessions.revokeGroup("acme");
    const { jti } = verified.auth;
    expect(heard()).to.deep.include.members([
      { type: "sign_out", principal: "alice", sessionIds: [second.sessionId] },
      { type: "token_revoked", principal: "alice", sessionId: first.sessionId, jti },
      { type: "sign_out", principal: "alice", sessionIds: [first.sessionId] },
      { type: "sign_out_everywhere", principal: "bob", cutoff },
    ]);
    expect(counted(gate)).to.deep.equal({
      ...{ sign_in: 2, sign_out: 2, token_revoked: 1, sign_out_everywhere: 2, organisation_signed_out: 1 },
    });
  });

  it("tells of refresh tokens that are used again, and of sign-ins that are refused or end another session", async () => {
    const gate = open({ tokens: { ...issuing.tokens, maxSessions: 1 } });
    const first = await gate.tokens.issue({ subject: "alice" });
    const second = await gate.tokens.issue({ subject: "alice" });
    const next = await gate.tokens.refresh(second.refreshToken);
    await rejectionOf(gate.tokens.refresh(second.refreshToken));
    expect(heard().slice(2)).to.deep.equal([
      { type: "sign_in", principal: "alice", sessionId: second.sessionId, org: undefined, ip: undefined },
      { type: "refresh_reused", principal: "alice", sessionId: next.sessionId },
    ]);
    expect(counted(gate)).to.include({ session_evicted: 1 });
    expect(first.sessionId).not.to.equal(second.sessionId);
    const strict = open({ tokens: { ...issuing.tokens, maxSessions: 1, onLimit: "refuse" } });
    await strict.tokens.issue({ subject: "bob" });
    await rejectionOf(strict.tokens.issue({ subject: "bob" }));
    expect(heard().at(-1)).to.deep.equal({ type: "sign_in_refused", principal: "bob" });
  });

  it("tells of a refresh token that gets its successor again after the overlap", async () => {
    const gate = open({ tokens: { ...issuing.tokens, lostAnswer: "1h" } });
    const { refreshToken, sessionId } = await gate.tokens.issue({ subject: "alice" });
    await gate.tokens.refresh(refreshToken);
    await gate.tokens.refresh(refreshToken);
    const [, repeated] = heard();
    expect(repeated).to.deep.include({ type: "refresh_repeated", principal: "alice", sessionId });
  });

  it("tells of a lock-out once, however often the locked-out client comes", async () => {
    const gate = open();
    const login = gate.throttleLogin({ account: () => "Alice", pair: { limit: 2, window: "1h" } });
    const statuses: number[] = [];
    for (let index = 0; index < 5; index += 1) {
      const exchange = fakeExchange({ method: "POST", ip: "192.0.2.1" });
      const verdict = await login.check(exchange);
      if (verdict.allowed) await exchange.state.facts.loginAttempt?.fail();
      statuses.push(verdict.allowed ? 200 : verdict.status);
    }
    expect(statuses).to.deep.equal([200, 200, 429, 429, 429]);
    const failed = { type: "login_failed", throttle: "login", account: "alice", ip: "192.0.2.1" };
    const [first, second, locked, ...others] = heard();
    expect([first, second, others]).to.deep.equal([failed, failed, []]);
    expect(locked).to.deep.include({ type: "login_locked", throttle: "login", ip: "192.0.2.1", by: "pair" });
    expect(locked).to.have.property("retrySeconds").that.is.within(3500, 3600);
    await gate.logins.unblock({ account: "Alice", ip: "192.0.2.1" });
    expect(heard()).to.deep.equal([{ type: "login_unblocked", throttle: "login", account: "Alice", ip: "192.0.2.1" }]);
  });

  it("tells of the next lock-out after an operator has ended one, and never twice of the same", () => {
    let now = 0;
    const lockOuts = new LockOuts(() => now);
    expect(lockOuts.begins("alice", 3_600_000)).to.equal(true);
    now = 60_000;
    // The answer of the store came late.
    expect(lockOuts.begins("alice", 3_541_000)).to.equal(false);
    expect(lockOuts.begins("bob", 3_600_000)).to.equal(true);
    expect(lockOuts.begins("alice", 3_600_000)).to.equal(true);
    expect(lockOuts.begins("alice", 3_600_000)).to.equal(false);
    now = 3_660_001;
    expect(lockOuts.begins("alice", 1000)).to.equal(true);
  });

  it("tells of a lock-out at once after another one was ended, and of short ones", async () => {
    const gate = open();
    const login = gate.throttleLogin({ account: () => "Alice", pair: { limit: 1, window: "1h" } });
    const attempt = async (): Promise<void> => {
      const exchange = fakeExchange({ method: "POST", ip: "192.0.2.1" });
      if ((await login.check(exchange)).allowed) await exchange.state.facts.loginAttempt?.fail();
    };
    for (let round = 0; round < 3; round += 1) {
      for (let index = 0; index < 3; index += 1) await attempt();
      await gate.logins.unblock({ account: "Alice", ip: "192.0.2.1" });
    }
    expect(heard().filter(({ type }) => type === "login_locked")).to.have.length(3);
    let now = 0;
    const lockOuts = new LockOuts(() => now);
    for (const at of [0, 1000, 1500]) {
      now = at;
      expect(lockOuts.begins("alice", 400)).to.equal(true);
      expect(lockOuts.begins("alice", 400)).to.equal(false);
    }
  });

  it("tells of sign-ins that the handler of a login route reports, and not of attempts without a result", async () => {
    const gate = open();
    const login = gate.throttleLogin({ account: () => "alice" });
    const attempt = async (): Promise<LoginAttempt> => {
      const exchange = fakeExchange({ method: "POST", ip: "192.0.2.1" });
      await login.check(exchange);
      const { loginAttempt } = exchange.state.facts;
      if (loginAttempt === undefined) throw new Error("there is no attempt");
      return loginAttempt;
    };
    await (await attempt()).cancel();
    await (await attempt()).interrupt();
    await (await attempt()).succeed({ account: "alice@example.com" });
    const { sessionId } = await gate.tokens.issue({ subject: "alice", attempt: await attempt() });
    const common = { type: "login_succeeded", throttle: "login", ip: "192.0.2.1" };
    expect(heard()).to.deep.include.members([
      { ...common, account: "alice@example.com" },
      { type: "sign_in", principal: "alice", sessionId, org: undefined, ip: undefined },
      { ...common, account: "alice" },
    ]);
    expect(counted(gate)).to.deep.equal({ sign_in: 1, login_succeeded: 2 });
  });

  it("tells of every change that an operator makes to limits", async () => {
    const { quotas } = open();
    await quotas.block("ip", "192.0.2.1", { for: "10m" });
    await quotas.unblock("ip", "192.0.2.1");
    await quotas.reset("ip", "192.0.2.1");
    await quotas.setOverride("ip", { limit: 9, for: "1h" });
    await quotas.setOverride("ip", "192.0.2.1", { window: "2m" });
    await quotas.clearOverride("ip");
    await rejectionOf(quotas.block("ip", "nobody", { for: "1m" }));
    const common = { policy: "ip", key: "192.0.2.1" };
    expect(heard()).to.deep.equal([
      { type: "client_blocked", ...common, forSeconds: 600 },
      { type: "client_unblocked", ...common },
      { type: "quota_reset", ...common },
      {
        ...{
          type: "limit_overridden",
          policy: "ip",
          key: undefined,
          limit: 9,
          windowSeconds: undefined,
          forSeconds: 3600,
        },
      },
      { type: "limit_overridden", ...common, limit: undefined, windowSeconds: 120, forSeconds: undefined },
      { type: "override_cleared", policy: "ip", key: undefined },
    ]);
  });

  it("names a client by the digest of its header, which may be a secret, and by nothing that the caller can still change", async () => {
    const limits: FakeOptions["limits"] = [
      { name: "key", per: { header: "x-api-key" }, limit: 5, window: "1m" },
      { name: "both", per: ["ip", { header: "x-api-key" }], limit: 5, window: "1m" },
    ];
    const gate = open({ limits });
    const both = ["192.0.2.1", "an API key"];
    await gate.quotas.block("key", "an API key", { for: "1m" });
    await gate.quotas.reset("both", both);
    await gate.quotas.setOverride("both", both, { limit: 1 });
    await gate.quotas.clearOverride("key", "an API key");
    const partition = (await gate.quotas.blocks()).items[0]?.partition ?? "";
    const keys = heard().map((event) => ("key" in event ? event.key : undefined));
    const named = { partition };
    expect(keys).to.deep.equal([named, ["192.0.2.1", named], ["192.0.2.1", named], named]);
    // In the form that calls accept.
    await gate.quotas.unblock("key", keys[0] as typeof named);
    await gate.quotas.block("both", both, { for: "1m" });
    await gate.quotas.unblock("both", keys[1] as readonly QuotaKeyPart[]);
    expect((await gate.quotas.blocks()).items).to.deep.equal([]);
    for (const key of keys) expect(key).to.be.frozen;
    expect(both).not.to.be.frozen;
  });

  it("holds no token, no password and no secret, and cannot be changed by a listener", async () => {
    const gate = open();
    const issued = await gate.tokens.issue({ subject: "alice", claims: { note: "a private claim" } });
    const refreshed = await gate.tokens.refresh(issued.refreshToken);
    await rejectionOf(gate.tokens.refresh(issued.refreshToken));
    const login = gate.throttleLogin({ account: () => "alice", pair: { limit: 1 } });
    const headers = { "x-password": "a password" };
    for (let index = 0; index < 3; index += 1) await login.check(fakeExchange({ ip: "192.0.2.1", headers }));
    const token = await signToken({ iss: testIssuer, jti: undefined });
    await gate.revocations.revoke({ token, expiresAt: Date.now() });
    const text = JSON.stringify(events);
    expect(events.length).to.be.at.least(4);
    const secrets = [issued, refreshed].flatMap((one) => [one.accessToken, one.refreshToken]);
    for (const secret of [...secrets, token].map((one) => one.split(".")[2] ?? one))
      expect(text).not.to.include(secret);
    for (const secret of [testSecret, "a password", "a private claim"]) expect(text).not.to.include(secret);
    for (const event of events) expect(event).to.be.frozen;
  });

  it("never disturbs a call or a request, whatever the listener does, and says so once", async () => {
    const rejections: unknown[] = [];
    const listen = (reason: unknown): void => void rejections.push(reason);
    process.on("unhandledRejection", listen);
    try {
      const listeners: FakeOptions["audit"][] = [
        () => {
          throw new Error("alice");
        },
        () => Promise.reject(new Error("alice")),
        () => ({
          then: () => {
            throw new Error("alice");
          },
        }),
        () => new Promise(() => undefined),
      ];
      for (const [index, audit] of listeners.entries()) {
        const warnings: string[] = [];
        const logger = { debug: () => undefined, warn: (_fields: object, text: string) => void warnings.push(text) };
        const gate = open({ audit, logger });
        const { accessToken } = await gate.tokens.issue({ subject: "alice" });
        await gate.tokens.issue({ subject: "alice" });
        expect((await gate.verify(accessToken)).allowed).to.equal(true);
        expect(await gate.sessions.revokeAll("alice")).to.equal(2);
        await new Promise((resolve) => setImmediate(resolve));
        const told = warnings.filter((text) => text.includes("audit"));
        expect(told, String(index)).to.have.length(index < 3 ? 1 : 0);
        expect(told.join()).not.to.include("alice");
        expect(counted(gate)).to.include({ sign_in: 2 });
      }
    } finally {
      process.off("unhandledRejection", listen);
    }
    expect(rejections).to.deep.equal([]);
  });

  it("waits for a query that begins only when somebody waits for it, as those of knex and mongoose", async () => {
    const written: AuditEvent["type"][] = [];
    const insert = (event: AuditEvent): PromiseLike<void> => ({
      then(...callbacks) {
        written.push(event.type);
        return Promise.resolve().then(...callbacks);
      },
    });
    await open({ audit: insert }).tokens.issue({ subject: "alice" });
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).to.deep.equal(["sign_in"]);
  });

  it("cannot change what listeners of sessions are told of the same end", async () => {
    const gate = open({
      audit(event) {
        if (event.type === "sign_out") (event.sessionIds as string[]).length = 0;
      },
    });
    const ended: unknown[] = [];
    gate.sessions.onRevoked(({ sessionIds }) => ended.push(sessionIds));
    const { sessionId } = await gate.tokens.issue({ subject: "alice" });
    expect(await gate.sessions.revoke("alice", sessionId)).to.equal(true);
    expect(ended).to.deep.equal([[sessionId]]);
  });

  it("counts events without a listener too, and without users", async () => {
    const gate = open({ audit: undefined });
    await gate.tokens.issue({ subject: "alice" });
    expect(counted(gate)).to.deep.equal({ sign_in: 1 });
    expect(JSON.stringify(gate.metrics())).not.to.include("alice");
    expect(() => open({ audit: "x" as never })).to.throw(TypeError, "audit");
  });

  it("is quiet about requests that pass or are refused", async () => {
    const gate = open({ auth: testAuth, tokens: undefined });
    for (const token of [await signToken(), "nonsense"])
      await gate.guard().check(fakeExchange({ headers: { authorization: `Bearer ${token}` } }));
    expect(heard()).to.deep.equal([]);
  });
});
