import { expect } from "chai";
import type { FakeGate } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

for (const [where, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`logins.peek(), ${where}`, () => {
    let gate: FakeGate;
    const ip = "192.0.2.1";

    beforeEach(() => {
      gate = openGate({ redis: redis(), prefix: freshPrefix(), deadline: 2000 });
    });

    async function attempt(from = ip, account = "alice"): Promise<number> {
      const limits = { pair: { limit: 3 }, accountLimit: { limit: 4 } };
      const login = gate.throttleLogin({ account: () => account, ...limits });
      const exchange = fakeExchange({ method: "POST", ip: from });
      const verdict = await login.check(exchange);
      if (!verdict.allowed) return verdict.status;
      await exchange.state.facts.loginAttempt?.fail();
      return 200;
    }

    it("tells attempts, limit, remaining and blocked of address, account and both, and counts nothing", async () => {
      expect([await attempt(), await attempt()]).to.deep.equal([200, 200]);
      for (let round = 0; round < 3; round += 1) {
        const state = await gate.logins.peek({ account: "ALICE", ip: `::ffff:${ip}` });
        expect(state.name).to.equal("login");
        expect(state.ip).to.include({ attempts: 2, limit: 30, remaining: 28, blocked: false });
        expect(state.account).to.include({ attempts: 2, limit: 4, remaining: 2, blocked: false });
        expect(state.pair).to.include({ attempts: 2, limit: 3, remaining: 1, blocked: false });
        expect(state.pair?.resetSeconds).to.be.within(50, 60);
        expect(state.knownAddress).to.equal(false);
      }
      expect(await attempt()).to.equal(200);
      expect(await attempt()).to.equal(429);
      expect((await gate.logins.peek({ account: "alice", ip })).pair).to.include({ remaining: 0, blocked: true });
      const other = await gate.logins.peek({ account: "bob", ip: "192.0.2.9" });
      expect([other.ip?.attempts, other.account?.attempts, other.pair?.attempts]).to.deep.equal([0, 0, 0]);
    });

    it("tells that an account is slowed down from everywhere, and that unblock() has ended it", async () => {
      for (let index = 1; index <= 4; index += 1) expect(await attempt(`198.51.100.${index}`)).to.equal(200);
      expect((await gate.logins.peek({ account: "alice" })).account).to.include({ remaining: 0, blocked: false });
      expect([await attempt("198.51.100.5"), await attempt("198.51.100.6")]).to.deep.equal([200, 429]);
      const slowed = await gate.logins.peek({ account: "alice" });
      expect(slowed.account).to.include({ blocked: true });
      expect([slowed.ip, slowed.pair, slowed.knownAddress]).to.deep.equal([undefined, undefined, undefined]);
      await gate.logins.unblock({ account: "alice" });
      expect((await gate.logins.peek({ account: "alice" })).account).to.include({ attempts: 0, blocked: false });
    });

    it("tells attempts alone of a throttle that this gate does not have, and refuses wrong arguments", async () => {
      const { ip: state } = await gate.logins.peek({ ip, name: "admin" });
      expect(state).to.deep.equal({
        ...{ attempts: 0, limit: undefined, remaining: undefined, resetSeconds: 0, blocked: undefined },
      });
      for (const wrong of [{}, { ip: "nowhere" }, { account: "" }, { ip, name: "a b" }, { acount: "alice" }])
        expect(await rejectionOf(gate.logins.peek(wrong)), JSON.stringify(wrong)).to.be.instanceOf(TypeError);
    });
  });
}
