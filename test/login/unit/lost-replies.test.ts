import { expect } from "chai";
import fc from "fast-check";
import { accountKeys, accountAndIpKeys } from "../../../packages/core/src/login/login-keys.js";
import type { AttemptAnswer, AttemptQuestion, AttemptResult } from "../../../packages/core/src/store/ports/logins.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { RedisLoginStore } from "../../../packages/core/src/store/redis/logins.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { loginChargeScript, loginSettleScript } from "../../../packages/core/src/store/redis/scripts/logins.js";
import { isSoak } from "../../support/soak.js";
import { until } from "../../support/until.js";
import type { Fate } from "../../store/support/flaky-connection.js";
import type { OpenedGiveBacks } from "../../store/support/give-backs.js";
import { setUpGiveBacks } from "../../store/support/give-backs.js";

interface Opened extends OpenedGiveBacks {
  /** With a breaker that is closed. */
  readonly store: (deadlineMs?: number) => RedisLoginStore;
}

/** What Redis has counted: of an address, of an account there, and of an account by its folded and its exact name. */
type Counted = readonly [address: number, pair: number, folded: number, exact: number];

for (const isCluster of [false, true]) {
  describe(`an attempt to sign in whose charge was not answered (${isCluster ? "Cluster" : "one server"})`, function () {
    this.timeout(60_000);
    const rig = setUpGiveBacks();

    before(async () => {
      for (const { source } of scripts) await rig.client.script("LOAD", source);
    });

    function open(decisionMs?: number): Opened {
      const opening = rig.open({ isCluster, decisionMs });
      const { giveBacks, flaky } = opening;
      const { connection } = flaky;
      return Object.assign(opening, {
        store: (deadlineMs = 5000) => new RedisLoginStore({ connection, deadlineMs, giveBacks }),
      });
    }

    const ask = (
      ip = "192.0.2.1",
      more: { pair?: number; account?: number; paceMs?: number } = {},
    ): AttemptQuestion => {
      const own = accountKeys(rig.keys, "login", "\u00e1lice");
      const { pairKey, knownKey } = accountAndIpKeys(rig.keys, "login", own, rig.keys.digest(ip));
      const { pair = 1000, account = 1000, paceMs = 600_000 } = more;
      return {
        address: { key: rig.keys.login("login", "ip", rig.keys.digest(ip)), limit: 1000, windowMs: 900_000 },
        accountAndIp: { key: pairKey, spelling: own.spelling, limit: pair, windowMs: 600_000 },
        resetKey: own.resetKey,
        account: {
          ...{ keys: own.counters, limit: account, windowMs: 3_600_000 },
          ...{ knownKey, intervalKey: own.intervalKey, minIntervalMs: paceMs },
        },
      };
    };
    const settlement = (question: AttemptQuestion, answer: AttemptAnswer | StoreFault, result: AttemptResult) => ({
      ...{ question, result, counted: answer instanceof StoreFault ? undefined : answer.counted },
      block: { longestMs: 3_600_000, memoryMs: 86_400_000 },
      knownMs: 86_400_000,
      failures: { key: rig.keys.failedLogins("alice"), ttlMs: 60_000 },
    });
    async function counted({ address, accountAndIp: pair, account }: AttemptQuestion): Promise<Counted> {
      const [folded = "", exact = ""] = account?.keys ?? [];
      const [ofAddress, ofFolded, ofExact] = await rig.client.mget(address.key, folded, exact);
      return [Number(ofAddress), Number(await rig.client.hget(pair.key, "n")), Number(ofFolded), Number(ofExact)];
    }
    /** Charges while its calls have this fate. */
    async function lose({ flaky, store }: Opened, question: AttemptQuestion, fate: Fate): Promise<RedisLoginStore> {
      flaky.fates = isCluster ? [fate, fate] : [fate];
      const one = store();
      expect(await one.count(question)).to.be.instanceOf(StoreFault);
      return one;
    }

    it("gives back each counted attempt once, whatever requests and replies are lost, and every key has a TTL", async () => {
      const fate = fc.constantFrom<Fate>("pass", "lose request", "lose reply");
      const step = fc.record({
        place: fc.integer({ min: 0, max: 1 }),
        charges: fc.tuple(fate, fate),
        result: fc.constantFrom<AttemptResult>("failed", "unchecked", "interrupted", "succeeded"),
        later: fc.array(fate, { maxLength: 3 }),
        waits: fc.boolean(),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 20 }), async (steps) => {
          rig.renewPrefix();
          const opening = open();
          const places = [ask("192.0.2.1"), ask("192.0.2.2")] as const;
          const model = places.map(() => ({ address: 0, pair: 0, isKnown: false }));
          let account = 0;
          for (const { place, charges, result, later, waits } of steps) {
            const [question, here] = [{ ...places[place]! }, model[place]!];
            const store = opening.store();
            opening.flaky.fates = isCluster ? [...charges] : [charges[0]];
            const answer = await store.count(question);
            opening.flaky.fates = [...later];
            const fault = await store.record(settlement(question, answer, result));
            expect(fault === undefined || later.some((one) => one !== "pass")).to.equal(true);
            const [ofAddress, ofAccount] = isCluster ? charges : [charges[0], charges[0]];
            if (ofAddress !== "lose request" && (result === "failed" || result === "interrupted")) here.address += 1;
            if (ofAccount !== "lose request" && result === "failed") {
              here.pair += 1;
              if (!here.isKnown) account += 1;
            }
            if (waits || result === "succeeded") await opening.settled();
            if (result !== "succeeded") continue;
            Object.assign(here, { pair: 0, isKnown: true });
            // An attempt belongs to the pair that exists in its millisecond.
            await new Promise((resolve) => setTimeout(resolve, 2));
          }
          await opening.settled();
          for (const [index, { address, pair }] of model.entries())
            expect(await counted(places[index]!)).to.deep.equal([address, pair, account, account]);
          await rig.expectEveryKeyEnds();
        }),
        { numRuns: isSoak ? 300 : 25 },
      );
    });

    for (const result of ["unchecked", "interrupted", "succeeded"] as const)
      it(`does not run any more when it arrives after it was taken back (${result})`, async () => {
        const opening = open();
        const question = ask();
        const store = await lose(opening, question, "lose request");
        await store.record(settlement(question, new StoreFault("timeout"), result));
        await opening.settled();
        const charges = opening.flaky.sent.filter(([, digest]) => digest === loginChargeScript.sha1);
        for (const [command, ...words] of charges) await rig.client.call(String(command), ...words);
        // In a Cluster the address is asked apart, and keeps what a fault has interrupted.
        expect(await counted(question)).to.deep.equal([isCluster && result === "interrupted" ? 1 : 0, 0, 0, 0]);
      });

    it("is taken back when it runs after its deadline", async () => {
      const opening = open();
      const question = ask();
      opening.flaky.fates = isCluster ? ["delay reply", "delay reply"] : ["delay reply"];
      const store = opening.store(50);
      expect(await store.count(question)).to.include({ kind: "timeout" });
      await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
      await opening.settled();
      opening.flaky.arrive();
      expect(await counted(question)).to.deep.equal([0, 0, 0, 0]);
    });

    it("frees the turn of an exhausted account, unless a password was looked at", async () => {
      for (const result of ["unchecked", "interrupted"] as const) {
        rig.renewPrefix();
        const opening = open();
        const from = (index: number): AttemptQuestion => ask(`192.0.2.${index}`, { account: 2 });
        for (let index = 0; index < 2; index += 1) await opening.store().count(from(index));
        const question = from(3);
        const store = await lose(opening, question, "lose reply");
        await store.record(settlement(question, new StoreFault("timeout"), result));
        await opening.settled();
        const answer = await opening.store().count(from(4));
        expect(answer, result).to.include({ refusedBy: result === "unchecked" ? undefined : "account" });
        // A turn that another attempt has taken since is not freed.
        if (result === "unchecked") expect(await opening.store().count(from(5))).to.include({ refusedBy: "account" });
      }
    });

    it("does not change counts from after its attempts were forgotten", async () => {
      const opening = open();
      const question = ask();
      const store = await lose(opening, question, "lose reply");
      const { counters, ...rest } = { ...accountKeys(rig.keys, "login", "\u00e1lice"), memoryMs: 86_400_000 };
      await opening.store().reset({ addressKey: question.address.key, account: { ...rest, counters } });
      await new Promise((resolve) => setTimeout(resolve, 5));
      const again = ask();
      await opening.store().count(again);
      await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
      await opening.settled();
      expect(await counted(question)).to.deep.equal([1, 1, 1, 1]);
    });

    it("is taken back although Redis has forgotten its scripts meanwhile", async () => {
      const opening = open();
      const question = ask();
      const store = await lose(opening, question, "lose reply");
      await rig.client.script("FLUSH");
      await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
      await opening.settled();
      expect(await counted(question)).to.deep.equal([0, 0, 0, 0]);
    });

    it("gives back nothing if Redis has lost the counts", async () => {
      const opening = open();
      const question = ask();
      const store = await lose(opening, question, "lose reply");
      await rig.client.del(await rig.client.keys(`${rig.prefix}*`));
      await opening.store().count(ask());
      await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
      await opening.settled();
      expect(await counted(question)).to.deep.equal([1, 1, 1, 1]);
    });

    it("stays counted without a reported result, and holds its permit for a limited time", async () => {
      const opening = open(50);
      const question = ask();
      const store = await lose(opening, question, "lose reply");
      expect(opening.giveBacks.held).to.be.greaterThan(0);
      await until(() => opening.giveBacks.held === 0);
      await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
      await opening.settled();
      expect(await counted(question)).to.deep.equal([1, 1, 1, 1]);
    });

    it("leaves no trace in the memory of calls once later ones are answered", async () => {
      const opening = open();
      for (let round = 0; round < 30; round += 1) {
        const question = ask();
        const store = await lose(opening, question, "lose reply");
        await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
        await opening.settled();
      }
      for (const key of await rig.client.keys(`${rig.prefix}*give-backs*`))
        expect(await rig.client.zcard(key)).to.be.at.most(4);
    });

    it("and that was refused gives nothing back", async () => {
      const opening = open();
      const question = (): AttemptQuestion => ask("192.0.2.1", { pair: 1 });
      const failed = question();
      const answer = await opening.store().count(failed);
      await opening.store().record(settlement(failed, answer, "failed"));
      for (let round = 0; round < 3; round += 1) {
        const again = question();
        const store = await lose(opening, again, "lose reply");
        await store.record(settlement(again, new StoreFault("timeout"), "unchecked"));
        await opening.settled();
      }
      expect(await counted(failed)).to.deep.equal([1, 1, 1, 1]);
      expect(await opening.store().count(question())).to.include({ refusedBy: "pair" });
    });

    if (isCluster)
      it("in one slot is taken back at once if the other slot refuses, which counts more than the fault", async () => {
        const opening = open();
        const question = (): AttemptQuestion => ask("192.0.2.1", { pair: 1 });
        await opening.store().count(question());
        for (const fate of ["lose reply", "lose request"] as const) {
          opening.flaky.fates = [fate];
          expect(await opening.store().count(question())).to.include({ refusedBy: "pair" });
          await opening.settled();
          expect(await counted(question()), fate).to.deep.equal([1, 1, 1, 1]);
        }
      });
    else
      it("leaves those that are refused as they were: they write nothing", async () => {
        const opening = open();
        const question = (): AttemptQuestion => ask("192.0.2.1", { pair: 1 });
        await opening.store().count(question());
        const dirty = async (): Promise<string | undefined> =>
          /rdb_changes_since_last_save:(\d+)/.exec(await rig.client.info("persistence"))?.[1];
        const before = await dirty();
        for (let round = 0; round < 3; round += 1)
          expect(await opening.store().count(question())).to.include({ refusedBy: "pair" });
        expect(await dirty()).to.equal(before);
      });

    it("stays counted, and is told of, where as many give-backs wait as may", async () => {
      const opening = open();
      opening.flaky.up = false;
      for (let index = 0; index < 10_000; index += 1)
        opening.giveBacks.push(
          loginSettleScript,
          { key: rig.keys.login("login", "ip", "other"), args: ["clear", "", "", "", ""], lifeMs: 60_000 },
          true,
        );
      const question = ask();
      expect(await opening.store().count(question)).to.include({ refusedBy: undefined });
      expect(opening.lost(), "of what was answered nothing is lost").to.equal(0);
      const store = await lose(opening, question, "lose reply");
      expect(opening.lost()).to.equal(5);
      await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
      expect(await counted(question)).to.deep.equal([2, 2, 2, 2]);
    });

    it("is taken back by a process that closes", async () => {
      const opening = open();
      const question = ask();
      const store = await lose(opening, question, "lose reply");
      opening.flaky.fates = isCluster ? ["lose request", "lose request"] : ["lose request"];
      await store.record(settlement(question, new StoreFault("timeout"), "unchecked"));
      await new Promise((resolve) => setImmediate(resolve));
      await opening.giveBacks.close();
      expect(await counted(question)).to.deep.equal([0, 0, 0, 0]);
    });
  });
}
