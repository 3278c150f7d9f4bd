import type { Proxy, RedisServer } from "@portcullis/testkit";
import { nowSeconds, signToken, startProxy, startRedis, testAuth } from "@portcullis/testkit";
import { StoreFault } from "@portcullis/core";
import { expect } from "chai";
import type { AnyGate, AnyOptions } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix } from "../../support/redis.js";
import { isSoak } from "../../support/soak.js";

/** The bound that docs/operations.md names. */
const maxWaiting = 4096;
const calls = isSoak ? 20_000 : 5000;
/** The calls of a turn of the event loop. */
const turn = 1000;

const tokens = { signingKey: "0123456789abcdef0123456789abcdef", issuer: "https://issuer.test", audience: "orders" };
const limits = [{ name: "user", per: "user", limit: 100, window: "1m" }] as const;
const tokenText = "a".repeat(44);

type Call = (number: number) => Promise<unknown>;

/** Makes the call of each kind that waits for the connection. */
const kinds: Readonly<Record<string, (gate: AnyGate) => Call>> = {
  "one-time values that are issued": (gate) => () => gate.oneTime.issue("reset", { a: 1 }, { ttl: "10m" }),
  "one-time values that are consumed": (gate) => () => gate.oneTime.consume("reset", tokenText),
  "locks that are waited for": (gate) => async (number) => (await gate.locks.acquire(`order:${number}`)).release(),
  "locks that are tried": (gate) => async (number) => (await gate.locks.tryAcquire(`order:${number}`))?.release(),
  "sessions that are listed": (gate) => () => gate.sessions.list("alice"),
  "sessions that are issued": (gate) => (number) => gate.tokens.issue({ subject: `user:${number}` }),
  revocations: (gate) => (number) => gate.revocations.revoke({ jti: `${number}`, expiresAt: nowSeconds() + 60 }),
  "questions about one token": (gate) => () => gate.revocations.isRevoked({ jti: "1" }),
  "log-ins that are unblocked": (gate) => () => gate.logins.unblock({ account: "alice" }),
  "quotas that are blocked": (gate) => () => gate.quotas.block("user", "alice", { for: "1m" }),
  "messages of a channel": (gate) => {
    const channel = gate.channels.define<number>("orders", { schema: (value) => value as number });
    return (number) => channel.publish(number);
  },
  "messages of a reliable channel": (gate) => {
    const channel = gate.channels.define<number>("bills", { schema: (value) => value as number, reliable: true });
    return (number) => channel.publish(number);
  },
};

interface Outcome {
  readonly answered: number;
  readonly overloaded: number;
  readonly waiting: number;
  readonly others: ReadonlySet<string>;
}

const pause = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;

/** Makes many calls. `now` tells their outcome so far, and `ended` when all have ended. */
async function makeMany(call: Call, count = calls): Promise<{ now: () => Outcome; ended: Promise<unknown> }> {
  let [answered, overloaded, failed] = [0, 0, 0];
  const others = new Set<string>();
  const ends: Promise<void>[] = [];
  for (let number = 0; number < count; number += 1) {
    const end = call(number).then(
      () => void (answered += 1),
      (error: unknown) => {
        if (error instanceof StoreFault && error.kind === "overloaded") overloaded += 1;
        else {
          failed += 1;
          others.add(String(error));
        }
      },
    );
    ends.push(end);
    if (number % turn === turn - 1) await pause();
  }
  await pause();
  const now = (): Outcome => ({ answered, overloaded, waiting: count - answered - overloaded - failed, others });
  return { now, ended: Promise.all(ends) };
}

describe(`${calls} calls that wait for the connection`, function () {
  this.timeout(20_000);
  let redis: RedisServer;
  let proxy: Proxy;

  before(async () => {
    redis = await startRedis();
    proxy = await startProxy(redis);
  });
  after(async () => {
    await proxy.close();
    await redis.stop();
  });
  afterEach(() => proxy.thaw());

  function options(more: Partial<AnyOptions> = {}): AnyOptions {
    return {
      ...{ redis: proxy.url, prefix: freshPrefix(), logger: silentLogger, service: "orders", tokens, limits },
      ...{ deadline: 5000, connectDeadline: 10_000, ...more },
    };
  }

  function open(): AnyGate {
    proxy.freeze();
    const gate = adapters[0]!.createGate(options());
    cleanUp(() => gate.close());
    return gate;
  }

  // Each kind takes seconds for itself: `npm run test:soak` tries all.
  for (const [kind, prepare] of isSoak ? Object.entries(kinds) : []) {
    it(`are bounded: ${kind}; the others are "overloaded" at once, and when the connection comes all work again`, async () => {
      const gate = open();
      const call = prepare(gate);
      const before = timers();
      const { now, ended } = await makeMany(call);
      expect(now()).to.deep.equal({
        ...{ answered: 0, waiting: maxWaiting, overloaded: calls - maxWaiting, others: new Set() },
      });
      expect(gate.breakers.map(({ state }) => state)).not.to.include("open");
      proxy.thaw();
      await ended;
      expect(now()).to.deep.include({ answered: maxWaiting, others: new Set() });
      await call(calls);
      expect(timers(), "nothing is held").to.be.at.most(before);
    });
  }

  it("have one bound for all kinds, and none opens a breaker; when the connection comes, all kinds work", async () => {
    const gate = open();
    const { now, ended } = await makeMany(kinds["questions about one token"]!(gate));
    const prepared = Object.entries(kinds).map(([kind, prepare]) => [kind, prepare(gate)] as const);
    for (const [kind, call] of prepared) {
      const refused = await makeMany(call, 100);
      expect(refused.now(), kind).to.deep.equal({ answered: 0, waiting: 0, overloaded: 100, others: new Set() });
    }
    expect(gate.breakers.map(({ state }) => state)).not.to.include("open");
    proxy.thaw();
    await ended;
    expect(now()).to.deep.equal({
      ...{ answered: maxWaiting, waiting: 0, overloaded: calls - maxWaiting, others: new Set() },
    });
    for (const [, call] of prepared) await call(calls);
  });

  it("end with the gate, and nothing is held", async () => {
    const before = timers();
    const gate = open();
    const { now, ended } = await makeMany(Object.values(kinds)[0]!(gate));
    await gate.close();
    await ended;
    expect([...now().others]).to.deep.equal(["StoreFault: the store is unavailable: unreachable"]);
    // The client of Redis may have some.
    expect(timers()).to.be.below(before + 10);
  });

  for (const adapter of adapters) {
    it(`let requests of ${adapter.name} that would wait too have 503 at once`, async () => {
      proxy.freeze();
      const app = await adapter.start({
        options: options({ tokens: undefined, auth: testAuth }),
        use: (gate) => [gate.unless({ path: "/issue" }, gate.guard())],
        routes: {
          "POST /issue": (_request, gate) => gate.oneTime.issue("reset", { a: 1 }, { ttl: "10m" }),
          "GET /me": ({ auth }) => auth?.subject ?? null,
        },
      });
      const { ended } = await makeMany(kinds["questions about one token"]!(app.gate));
      const start = performance.now();
      for (const [path, method] of [
        ["/issue", "POST"],
        ["/me", "GET"],
      ] as const) {
        const { status, headers } = await send(app.url + path, { method, token: await signToken() });
        expect([path, status, headers["retry-after"]]).to.deep.equal([path, 503, "1"]);
      }
      expect(performance.now() - start).to.be.below(3000);
      proxy.thaw();
      await ended;
      expect((await send(`${app.url}/me`, { token: await signToken() })).status).to.equal(200);
    });
  }
});
