import { expect } from "chai";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import type { StartApp } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import type { AttemptOptions, LoginApp } from "../../support/login.js";
import { startLogin, statuses } from "../../support/login.js";
import { until } from "../../support/until.js";

const times = (count: number, status: number): number[] => Array<number>(count).fill(status);

describeOnEveryFramework("the login throttle", (start) => {
  it("lets at most 5 of 100 wrong passwords at once be looked at", async () => {
    const app = await startLogin(start);
    const answers = await Promise.all(Array.from({ length: 100 }, () => app.attempt("alice")));
    expect(app.checks()).to.equal(5);
    expect(answers.filter(({ status }) => status === 401)).to.have.length(5);
    expect(answers.filter(({ status }) => status === 429)).to.have.length(95);
  });

  it("refuses at every alternative an attempt that it has refused", async () => {
    const { url } = await start(
      {},
      {
        use(gate) {
          const throttle = gate.throttleLogin({ account: () => "alice", pair: { limit: 2 } });
          return [
            gate.some(gate.guard({ checks: [throttle, gate.authenticate()] }), gate.guard({ checks: [throttle] })),
          ];
        },
        routes: {
          "POST /login": () => {
            throw Object.assign(new Error("wrong password"), { status: 401 });
          },
        },
      },
    );
    const seen = await statuses(4, async () => send(`${url}/login`, { method: "POST" }));
    expect(seen).to.deep.equal([401, 401, 429, 429]);
  });

  it("answers 429 with when to come back, and the same words for every cause", async () => {
    const app = await startLogin(start, { ip: { limit: 6 } });
    await statuses(6, (index) => app.attempt(index === 5 ? "bob" : "alice"));
    const [byPair, byAddress] = [await app.attempt("alice"), await app.attempt("carol")];
    expect(byPair.status).to.equal(429);
    expect(Number(byPair.headers["retry-after"])).to.be.within(1, 900);
    expect(byPair.headers["cache-control"]).to.equal("no-store");
    expect(byPair.json).to.deep.equal({
      type: "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
      title: "Too many sign-in attempts",
      status: 429,
      code: "attempts_exceeded",
    });
    expect(byAddress.text).to.equal(byPair.text);
  });

  it("refuses again if it runs again for an attempt that it refused", async () => {
    const { url } = await start(
      {},
      {
        use: (gate) => {
          const throttle = gate.throttleLogin({ account: () => "alice", pair: { limit: 2 } });
          return [gate.some(throttle, throttle)];
        },
        routes: { "POST /login": () => Promise.reject(Object.assign(new Error("wrong"), { status: 401 })) },
      },
    );
    const seen = await statuses(4, () => send(`${url}/login`, { method: "POST" }));
    expect(seen).to.deep.equal([401, 401, 429, 429]);
  });

  it("does not let an attacker at one address lock the account's owner out, at home or anywhere", async () => {
    const app = await startLogin(start);
    const attacked = await statuses(60, () => app.attempt("alice", { from: "203.0.113.66" }));
    expect(attacked).to.deep.equal([...times(5, 401), ...times(55, 429)]);
    expect((await app.attempt("alice", { password: "right" })).status).to.equal(200);
  });

  it("stops the guessing at one account from many addresses, but not at places its owner has signed in from", async () => {
    const app = await startLogin(start, { accountLimit: { limit: 10 } });
    const home: AttemptOptions = { password: "right", from: "192.0.2.1" };
    expect((await app.attempt("alice", home)).status).to.equal(200);
    const seen = await statuses(30, (index) => app.attempt("alice", { from: `203.0.113.${index}` }));
    expect(seen).to.deep.equal([...times(11, 401), ...times(19, 429)]);
    expect((await app.attempt("alice", home)).status).to.equal(200);
  });

  it("requires a step-up instead, by an option", async () => {
    const steps: (boolean | undefined)[] = [];
    const answer = ({ loginAttempt }: { loginAttempt?: { stepUp: boolean } | undefined }): never => {
      steps.push(loginAttempt?.stepUp);
      throw Object.assign(new Error("wrong"), { status: 401 });
    };
    const app = await startLogin(start, { accountLimit: { limit: 2 }, onAccountLimit: "step-up" }, { answer });
    await statuses(4, (index) => app.attempt("alice", { from: `203.0.113.${index}` }));
    expect(steps).to.deep.equal([false, false, true, true]);
  });

  it("stops an address that tries one account after the other", async () => {
    const app = await startLogin(start, { ip: { limit: 10 } });
    const seen = await statuses(15, (index) => app.attempt(`user${index}`));
    expect(seen).to.deep.equal([...times(10, 401), ...times(5, 429)]);
    expect((await app.attempt("alice", { password: "right", from: "192.0.2.2" })).status).to.equal(200);
  });

  it("clears only the counter of account and address together when a password is right", async () => {
    const app = await startLogin(start, { ip: { limit: 8 } });
    await statuses(4, () => app.attempt("alice"));
    expect((await app.attempt("alice", { password: "right" })).status).to.equal(200);
    // Four of the address' eight are used, and the one that succeeded came back.
    expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([...times(4, 401), ...times(2, 429)]);
  });

  it("treats an account that exists like one that does not", async () => {
    const app = await startLogin(start);
    const known = await observe(app, "alice", "192.0.2.1");
    const unknown = await observe(app, "nobody", "192.0.2.2");
    expect(unknown).to.deep.equal(known);
    expect(known.map(({ status }) => status)).to.deep.equal([...times(5, 401), 429, 429]);
  });

  it("sees one account in every spelling of its name", async () => {
    const app = await startLogin(start);
    const spellings = ["alice", " ALICE ", "\uff41lice", "al\u200bice", "Alice\t", "aLiCe\n", "alice"];
    const seen = await statuses(spellings.length, (index) => app.attempt(spellings[index]));
    expect(seen).to.deep.equal([...times(5, 401), 429, 429]);
  });

  it("refuses a text that no account can have as its name, and counts nothing", async () => {
    const app = await startLogin(start);
    for (const account of [null, 7, true, [], ["alice"], {}, { $ne: "" }, "", "  ", "a\u0000b", "\ud800"])
      expect((await app.attempt(account)).status, JSON.stringify(account)).to.equal(400);
    const huge = await app.attempt("alice", { headers: { "x-huge": "1" } });
    expect(huge.json).to.include({ status: 400, code: "account_missing" });
    expect(app.checks()).to.equal(0);
    expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([...times(5, 401), 429]);
  });

  it("gives a trusted device a counter of its own, independent of its address", async () => {
    const device = { secret: "device-secret-".padEnd(32, "0") };
    const app = await startLogin(start, { device, ip: { limit: 8 } });
    const first = await app.attempt("alice", { password: "right" });
    const { cookie } = first.json as { cookie: string };
    expect(cookie).to.match(/^__Host-device=\S+; Path=\/; Max-Age=7776000; HttpOnly; Secure; SameSite=Strict$/);
    const headers = { cookie: `a=b; ${cookie.split(";")[0]}` };
    await statuses(20, (index) => app.attempt(index % 2 === 0 ? "alice" : `user${index}`));
    expect((await app.attempt("alice", { password: "right" })).status).to.equal(429);
    const trusted = await app.attempt("alice", { password: "right", headers });
    expect([trusted.status, (trusted.json as { device: boolean }).device]).to.deep.equal([200, true]);
    expect(await statuses(6, () => app.attempt("alice", { headers }))).to.deep.equal([...times(5, 401), 429]);
    const forged = { cookie: headers.cookie.replace(/.$/, (last) => (last === "A" ? "B" : "A")) };
    for (const useless of [forged, { cookie: "__Host-device=x" }])
      expect((await app.attempt("alice", { password: "right", headers: useless })).status).to.equal(429);
    expect((await app.attempt("bob", { headers })).status, "it is trusted for alice only").to.equal(429);
  });

  it("lets operators unblock an account or an address", async () => {
    const app = await startLogin(start, { ip: { limit: 7 } });
    await statuses(6, () => app.attempt("alice"));
    await app.gate.logins.unblock({ account: " ALICE" });
    expect(await statuses(3, () => app.attempt("alice"))).to.deep.equal([401, 401, 429]);
    await app.gate.logins.unblock({ ip: "::ffff:192.0.2.1" });
    expect((await app.attempt("alice", { password: "right" })).status).to.equal(200);
  });

  it("takes back an attempt that the handler reports as unchecked", async () => {
    const answer = async ({ loginAttempt }: { loginAttempt?: { cancel(): Promise<void> } | undefined }) => {
      await loginAttempt?.cancel();
      throw Object.assign(new Error("later"), { status: 503 });
    };
    const app = await startLogin(start, {}, { answer });
    expect(await statuses(8, () => app.attempt("alice"))).to.deep.equal(times(8, 503));
  });

  it("bounds how many passwords are looked at at once", async () => {
    let [now, most] = [0, 0];
    const answer = async () => {
      now += 1;
      most = Math.max(most, now);
      await new Promise((resolve) => setTimeout(resolve, 5));
      now -= 1;
    };
    const app = await startLogin(start, { parallel: 3 }, { answer });
    const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => app.attempt(`user${index}`)));
    expect(answers.map(({ status }) => status)).to.deep.equal(times(20, 204));
    expect(most).to.equal(3);
  });
});

for (const adapter of adapters) {
  describe(`the login throttle on ${adapter.name}`, () => {
    const running: RunningApp[] = [];
    afterEach(async () => {
      for (const app of running.splice(0)) await app.close();
    });

    it("is not got around by clients that go away while their password is looked at", async () => {
      let [now, most, done] = [0, 0, 0];
      const answer = async () => {
        now += 1;
        most = Math.max(most, now);
        await new Promise((resolve) => setTimeout(resolve, 30));
        now -= 1;
        done += 1;
      };
      const start: StartApp = async (options = {}, rest = {}) => {
        const given = { redis: "memory", logger: silentLogger, ...options } as const;
        const app = await adapter.start({ options: given, routes: {}, ...rest });
        running.push(app);
        return app;
      };
      const app = await startLogin(start, { parallel: 1 }, { answer });
      const leaving = new AbortController();
      const headers = { "x-account": '"bob"' };
      const gone = fetch(`${app.url}/login`, { method: "POST", headers, signal: leaving.signal }).catch(() => "gone");
      await until(() => app.checks() === 1);
      leaving.abort();
      expect(await gone).to.equal("gone");
      // Let through only when the one before has had its time, though nobody waits for it any more.
      expect((await app.attempt("alice")).status).to.equal(204);
      await until(() => done === 2);
      expect(most).to.equal(1);
    });
  });
}

/** What a guesser sees of seven attempts, without what differs by time. */
async function observe(app: LoginApp, account: string, from: string): Promise<{ status: number; rest: unknown }[]> {
  const seen: { status: number; rest: unknown }[] = [];
  for (let index = 0; index < 7; index += 1) {
    const { status, headers, text } = await app.attempt(account, { from });
    const { "retry-after": after, ...others } = headers;
    seen.push({ status, rest: { text, others: { ...others, date: undefined }, waits: Number(after ?? 0) > 0 } });
  }
  return seen;
}
