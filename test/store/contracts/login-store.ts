import { expect } from "chai";
import { accountKeys, accountAndIpKeys } from "../../../packages/core/src/login/login-keys.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type {
  AttemptAnswer,
  AttemptOutcome,
  AttemptQuestion,
  AttemptResult,
  LoginStore,
  KnownAddress,
} from "../../../packages/core/src/store/ports/logins.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { freshPrefix } from "../../support/redis.js";

/** The contract of every LoginStore: what the login throttle relies on, whichever store answers. */
export function describeLoginStore(name: string, open: () => Promise<LoginStore> | LoginStore): void {
  describe(`${name} keeps the contract of a login store`, () => {
    let store: LoginStore;
    let keys: Keyspace;

    before(async () => {
      store = await open();
    });
    beforeEach(() => {
      keys = new Keyspace(freshPrefix(), "test");
    });

    interface Limits {
      readonly pair?: number;
      readonly windowMs?: number;
      readonly ip?: number;
      readonly account?: number;
      readonly paceMs?: number | undefined;
    }

    const ask = (account: string, ip: string, limits: Limits = {}): AttemptQuestion => {
      const { pair = 5, windowMs = 60_000, ip: most = 30, account: all = 50 } = limits;
      const own = accountKeys(keys, "login", account);
      const address = keys.digest(ip);
      const { pairKey, knownKey } = accountAndIpKeys(keys, "login", own, address);
      return {
        address: { key: keys.login("login", "ip", address), limit: most, windowMs: 900_000 },
        accountAndIp: { key: pairKey, spelling: own.spelling, limit: pair, windowMs },
        resetKey: own.resetKey,
        account: {
          keys: own.counters,
          limit: all,
          windowMs: 3_600_000,
          knownKey,
          intervalKey: own.intervalKey,
          minIntervalMs: "paceMs" in limits ? limits.paceMs : 10_000,
        },
      };
    };
    const placeOf = (account: string, ip: string): KnownAddress => {
      const own = accountKeys(keys, "login", account);
      const { pairKey, knownKey } = accountAndIpKeys(keys, "login", own, keys.digest(ip));
      return { accountAndIp: { key: pairKey, spelling: own.spelling }, knownKey };
    };
    const charge = async (question: AttemptQuestion): Promise<AttemptAnswer> => {
      const answer = await store.count(question);
      if (answer instanceof StoreFault) throw answer;
      return answer;
    };
    const settle = async (
      question: AttemptQuestion,
      answer: Pick<AttemptOutcome, "counted">,
      result: AttemptResult,
      signedIn?: KnownAddress,
    ) => {
      const fault = await store.record({
        question,
        counted: answer.counted,
        result,
        signedIn,
        block: { longestMs: 3_600_000, memoryMs: 86_400_000 },
        knownMs: 86_400_000,
        failures: { key: keys.failedLogins("alice"), ttlMs: 60_000 },
      });
      expect(fault).to.equal(undefined);
    };
    const attempt = async (question: AttemptQuestion, result: AttemptResult = "failed", signedIn?: KnownAddress) => {
      const answer = await charge(question);
      if (answer.refusedBy === undefined) await settle(question, answer, result, signedIn);
      return answer;
    };
    const refusals = async (count: number, question: (index: number) => AttemptQuestion) => {
      const seen: (string | undefined)[] = [];
      for (let index = 0; index < count; index += 1) seen.push((await attempt(question(index))).refusedBy);
      return seen;
    };
    const times = <T>(count: number, value: T): T[] => Array<T>(count).fill(value);

    describe("its counts", () => {
      const read = (account: string, ip: string): ReturnType<LoginStore["read"]> => {
        const { accountAndIp, resetKey, account: all, address } = ask(account, ip);
        if (all === undefined) throw new Error("no account");
        const { keys: counters, windowMs, intervalKey, knownKey } = all;
        const pair = { pairKey: accountAndIp.key, knownKey };
        return store.read({ addressKey: address.key, account: { counters, windowMs, intervalKey, resetKey, pair } });
      };

      it("are those of the attempts, and reading them counts nothing", async () => {
        const none = { attempts: 0, leftMs: 0 };
        const fresh = { address: none, account: { ...none, pacedMs: 0 }, pair: { ...none, known: false } };
        expect(await read("alice", "192.0.2.1")).to.deep.equal(fresh);
        await attempt(ask("alice", "192.0.2.1"));
        await attempt(ask("alice", "192.0.2.1"));
        await attempt(ask("alice", "192.0.2.2"));
        for (let round = 0; round < 2; round += 1) {
          const { address, account, pair } = await read("alice", "192.0.2.1");
          expect([address?.attempts, account?.attempts, pair?.attempts]).to.deep.equal([2, 3, 2]);
          expect(address?.leftMs).to.be.within(890_000, 900_000);
          expect(account?.leftMs).to.be.within(3_590_000, 3_600_000);
          expect(pair?.leftMs).to.be.within(50_000, 60_000);
        }
        expect(await read("bob", "192.0.2.9")).to.deep.equal(fresh);
        expect(await store.read({})).to.deep.equal({ address: undefined, account: undefined, pair: undefined });
      });

      it("tell of blocks, of the pace, of known addresses and of resets", async () => {
        for (let index = 0; index < 5; index += 1) await attempt(ask("alice", "192.0.2.1", { account: 3 }));
        const { account, pair } = await read("alice", "192.0.2.1");
        expect(pair?.attempts).to.be.at.least(3);
        expect(account?.pacedMs).to.be.within(1, 10_000);
        const { account: all, resetKey, address } = ask("alice", "192.0.2.1");
        const reset = {
          counters: all?.keys ?? [],
          intervalKey: all?.intervalKey ?? "",
          resetKey,
          memoryMs: 86_400_000,
        };
        await store.reset({ addressKey: address.key, account: reset });
        const after = await read("alice", "192.0.2.1");
        expect([after.address?.attempts, after.account?.attempts, after.pair?.attempts]).to.deep.equal([0, 0, 0]);
        await attempt(ask("alice", "192.0.2.3"), "succeeded");
        expect((await read("alice", "192.0.2.3")).pair).to.deep.equal({ attempts: 0, leftMs: 0, known: true });
      });
    });

    it("admits exactly the limit of 100 attempts at once", async () => {
      const answers = await Promise.all(
        Array.from({ length: 100 }, () => charge(ask("alice", "192.0.2.1", { ip: 200 }))),
      );
      expect(answers.filter(({ refusedBy }) => refusedBy === undefined)).to.have.length(5);
      const retries = answers.filter(({ refusedBy }) => refusedBy === "pair").map(({ retryMs }) => retryMs);
      expect(retries).to.have.length(95);
      for (const ms of retries) expect(ms).to.be.within(55_000, 60_000);
    });

    it("counts a refused attempt nowhere", async () => {
      const seen = await refusals(40, () => ask("alice", "192.0.2.1", { ip: 8 }));
      expect(seen).to.deep.equal([...times(5, undefined), ...times(35, "pair")]);
      const others = await refusals(5, (index) => ask(`other${index}`, "192.0.2.1", { ip: 8 }));
      expect(others).to.deep.equal([...times(3, undefined), ...times(2, "address")]);
    });

    it("limits an address over all accounts, and counts refused attempts for no account", async () => {
      const seen = await refusals(12, (index) => ask(`user${index}`, "192.0.2.1", { ip: 10 }));
      expect(seen).to.deep.equal([...times(10, undefined), ...times(2, "address")]);
      expect((await attempt(ask("user11", "192.0.2.9", { account: 1 }))).refusedBy).to.equal(undefined);
    });

    it("lets an account that is tried from everywhere be tried at a pace only", async () => {
      const from = (index: number) => ask("alice", `198.51.100.${index}`, { account: 6 });
      expect(await refusals(10, from)).to.deep.equal([...times(7, undefined), ...times(3, "account")]);
      const { retryMs, exhausted } = await attempt(from(11));
      expect(retryMs).to.be.within(1, 10_000);
      expect(exhausted).to.equal(true);
    });

    it("lets it pass without a pace, and says that it is exhausted", async () => {
      const from = (index: number) => ask("alice", `198.51.100.${index}`, { account: 3, paceMs: undefined });
      const seen: boolean[] = [];
      for (let index = 0; index < 6; index += 1) seen.push((await attempt(from(index))).exhausted);
      expect(seen).to.deep.equal([false, false, false, true, true, true]);
    });

    it("spares a place where the account has signed in before the account's counter", async () => {
      const home = ask("alice", "192.0.2.1", { account: 3 });
      expect((await attempt(home, "succeeded")).counted).to.equal(true);
      await refusals(6, (index) => ask("alice", `198.51.100.${index}`, { account: 3 }));
      const answer = await attempt(home, "failed");
      expect(answer).to.deep.include({ refusedBy: undefined, exhausted: false, counted: false });
    });

    it("forgets the pair on success, and gives address and account one attempt back", async () => {
      const alice = ask("alice", "192.0.2.1", { ip: 6, account: 6 });
      await refusals(4, () => alice);
      await attempt(alice, "succeeded");
      expect(await refusals(3, () => alice)).to.deep.equal([undefined, undefined, "address"]);
      const elsewhere = await refusals(3, () => ask("alice", "192.0.2.2", { account: 6 }));
      expect(elsewhere).to.deep.equal([undefined, undefined, undefined]);
    });

    it("gives nothing back of attempts that it never heard of; a success forgets the pair, and knows the place", async () => {
      const limits = { ip: 6, account: 4, paceMs: undefined };
      const alice = ask("alice", "192.0.2.1", limits);
      await refusals(4, () => alice);
      const unheard = { counted: undefined };
      for (const result of ["unchecked", "interrupted", "failed"] as const) await settle({ ...alice }, unheard, result);
      expect(await refusals(1, () => ask("bob", "192.0.2.1", limits))).to.deep.equal([undefined]);
      await settle({ ...alice }, unheard, "succeeded");
      expect(await refusals(2, () => alice)).to.deep.equal([undefined, "address"]);
      expect((await attempt(ask("alice", "192.0.2.2", limits))).exhausted).to.equal(true);
    });

    it("gives an attempt back only if the attempts of its spelling were not forgotten meanwhile", async () => {
      const [mine, other] = [ask("alic\u00e9", "192.0.2.1"), ask("alice", "192.0.2.1")];
      await refusals(3, () => other);
      const [first, second] = [await charge(mine), await charge(mine)];
      await settle(mine, first, "succeeded");
      await settle(mine, second, "interrupted");
      expect(await refusals(3, () => other)).to.deep.equal([undefined, undefined, "pair"]);
    });

    it("takes an attempt back of which no password was looked at", async () => {
      const alice = ask("alice", "192.0.2.1", { ip: 2, account: 2, pair: 2 });
      for (let round = 0; round < 5; round += 1)
        expect((await attempt(alice, "unchecked")).refusedBy).to.equal(undefined);
      expect(await refusals(3, () => alice)).to.deep.equal([undefined, undefined, "address"]);
    });

    it("takes an attempt back from pair and account after a fault, and leaves it counted for the address", async () => {
      const alice = ask("alice", "192.0.2.1", { ip: 4, account: 2, pair: 2 });
      for (let round = 0; round < 3; round += 1)
        expect((await attempt(alice, "interrupted")).refusedBy).to.equal(undefined);
      expect(await refusals(2, () => alice)).to.deep.equal([undefined, "address"]);
      const elsewhere = ask("alice", "192.0.2.2", { account: 2, pair: 2 });
      const answer = await attempt(elsewhere);
      expect(answer).to.include({ refusedBy: undefined, exhausted: false });
    });

    it("counts all spellings of an account together, at one place and at all", async () => {
      const spellings = ["alice", "\u00e1lice", "al\u00efce", "alic\u00e9", "a\u0142ice", "\u00e0lice", "alic\u0113"];
      const here = await refusals(7, (index) => ask(spellings[index] ?? "", "192.0.2.1"));
      expect(here).to.deep.equal([...times(5, undefined), ...times(2, "pair")]);
      const there = await refusals(7, (index) => ask(spellings[index] ?? "", `198.51.100.${index}`, { account: 8 }));
      expect(there).to.deep.equal([...times(4, undefined), ...times(3, "account")]);
    });

    it("counts an exact name by itself besides, for as long as its own attempts last", async () => {
      for (const name of ["\u00e1lice", "alic\u00e9"])
        await attempt(ask(name, `192.0.2.${name.length}`, { account: 9 }));
      const { account } = ask("\u00e1lice", "192.0.2.1");
      expect(account?.keys).to.have.length(2);
      expect(ask("alice", "192.0.2.1").account?.keys).to.deep.equal([account?.keys[0]]);
    });

    it("resets the counter of account and address for the spelling that succeeded, and no counter of another account", async () => {
      const [mine, other] = [ask("alic\u00e9", "192.0.2.1"), ask("alice", "192.0.2.1")];
      await refusals(4, () => other);
      await attempt(mine, "succeeded");
      expect(await refusals(2, () => other)).to.deep.equal([undefined, "pair"]);
      await store.reset({ account: { ...accountKeys(keys, "login", "alice"), memoryMs: 86_400_000 } });
      await new Promise((resolve) => setTimeout(resolve, 5));
      await refusals(4, () => mine);
      await attempt(mine, "succeeded");
      expect(await refusals(6, () => other)).to.deep.equal([...times(5, undefined), "pair"]);
    });

    it("gives one attempt back to each counter of an account when it succeeds, and forgets neither", async () => {
      const from = (index: number) => ask("\u00e1lice", `198.51.100.${index}`, { account: 3 });
      await attempt(from(1));
      await attempt(from(2));
      await attempt(from(3), "succeeded");
      expect(await refusals(3, (index) => from(10 + index))).to.deep.equal([undefined, undefined, "account"]);
      const folded = await refusals(1, () => ask("alice", "192.0.2.9", { account: 3 }));
      expect(folded).to.deep.equal(["account"]);
    });

    it("knows the place of the account that signed in, under whatever name it was asked for", async () => {
      const from = (index: number) => ask("alice", `198.51.100.${index}`, { account: 3 });
      const typed = ask("alice@example.com", "192.0.2.1", { account: 3 });
      await refusals(4, () => ask("alice", "192.0.2.1"));
      await attempt(typed, "succeeded", placeOf("alice", "192.0.2.1"));
      await refusals(6, from);
      const home = ask("alice", "192.0.2.1", { account: 3 });
      expect(await attempt(home)).to.deep.include({ refusedBy: undefined, exhausted: false, counted: false });
      expect((await attempt(typed)).counted, "the other name is not known there").to.equal(true);
    });

    it("gives the name that was asked for one attempt back, but forgets no failures of it", async () => {
      const typed = ask("victim", "192.0.2.1");
      await refusals(4, () => typed);
      await attempt(typed, "succeeded", placeOf("tenant/victim", "192.0.2.1"));
      expect(await refusals(2, () => typed)).to.deep.equal([undefined, "pair"]);
    });

    it("pardons an account in all spellings of its name", async () => {
      const spellings = ["alice", "\u00e1lice", "alic\u00e9"];
      await refusals(12, (index) => ask(spellings[index % 3] ?? "", "192.0.2.1", { account: 2, paceMs: undefined }));
      await refusals(6, (index) => ask("\u00e1lice", `198.51.100.${index}`, { account: 2 }));
      await store.reset({ account: { ...accountKeys(keys, "login", "alice"), memoryMs: 86_400_000 } });
      await new Promise((resolve) => setTimeout(resolve, 5));
      const seen = await refusals(3, (index) => ask(spellings[index] ?? "", "192.0.2.1", { account: 3 }));
      expect(seen).to.deep.equal(times(3, undefined));
    });

    it("doubles the block each time that attempts are used up, and starts anew after a success", async function () {
      this.timeout(15_000);
      const terms = { pair: 2, windowMs: 250, account: 1000, ip: 1000 };
      const [alice, bob] = [ask("alice", "192.0.2.1", terms), ask("bob", "192.0.2.2", terms)];

      async function block(who: AttemptQuestion): Promise<number> {
        await refusals(2, () => who);
        const { refusedBy, retryMs } = await attempt(who);
        expect(refusedBy).to.equal("pair");
        return retryMs;
      }

      for (const longest of [250, 500]) {
        const waits = [await block(alice), await block(bob)];
        for (const ms of waits) expect(ms).to.be.within(longest === 250 ? 1 : 251, longest);
        await new Promise((resolve) => setTimeout(resolve, Math.max(...waits) + 10));
      }
      expect(await block(bob)).to.be.within(501, 1000);
      await attempt(alice, "succeeded");
      expect(await block(alice)).to.be.within(1, 250);
    });

    it("does not lengthen a block that lasts", async () => {
      const alice = ask("alice", "192.0.2.1");
      const answers = await Promise.all(Array.from({ length: 5 }, () => charge(alice)));
      await Promise.all(answers.map((answer) => settle(alice, answer, "failed")));
      for (let index = 0; index < 20; index += 1) expect((await attempt(alice)).retryMs).to.be.within(1, 60_000);
    });

    it("counts a trusted device apart from everything else", async () => {
      const { resetKey, owner, spelling } = accountKeys(keys, "login", "alice");
      const accountAndIp = { key: keys.login("login", "device", owner, "d1"), spelling, limit: 5, windowMs: 60_000 };
      await refusals(40, () => ask("alice", "192.0.2.1"));
      const address = { key: keys.login("login", "device-ip", owner, "d1"), limit: 30, windowMs: 900_000 };
      const device = { address, accountAndIp, resetKey, account: undefined };
      expect(await refusals(6, () => device)).to.deep.equal([...times(5, undefined), "pair"]);
    });

    it("pardons an account wherever it is blocked, and an address, and nobody else", async () => {
      const places = ["192.0.2.1", "192.0.2.2"];
      for (const ip of places) await refusals(6, () => ask("alice", ip, { account: 5 }));
      await refusals(6, () => ask("bob", "192.0.2.1"));
      await store.reset({ account: { ...accountKeys(keys, "login", "alice"), memoryMs: 86_400_000 } });
      for (const ip of places) expect((await attempt(ask("alice", ip, { account: 5 }))).refusedBy).to.equal(undefined);
      expect((await attempt(ask("bob", "192.0.2.1"))).refusedBy).to.equal("pair");
      const crowded = (index: number) => ask(`user${index}`, "192.0.2.7", { ip: 2 });
      expect(await refusals(3, crowded)).to.deep.equal([undefined, undefined, "address"]);
      await store.reset({ addressKey: crowded(0).address.key });
      expect(await refusals(1, crowded)).to.deep.equal([undefined]);
    });

    it("blocks anew after a pardon, with the shortest block", async () => {
      const alice = ask("alice", "192.0.2.1");
      await refusals(6, () => alice);
      await store.reset({ account: { ...accountKeys(keys, "login", "alice"), memoryMs: 86_400_000 } });
      await new Promise((resolve) => setTimeout(resolve, 5));
      const seen = await refusals(6, () => alice);
      expect(seen).to.deep.equal([...times(5, undefined), "pair"]);
      expect((await attempt(alice)).retryMs).to.be.within(1, 60_000);
    });
  });
}
