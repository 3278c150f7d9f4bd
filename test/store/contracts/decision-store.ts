import { expect } from "chai";
import fc from "fast-check";
import type {
  Answer,
  Consumption,
  Question,
  DecisionStore,
  CounterState,
} from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { RevocationStore } from "../../../packages/core/src/store/ports/revocation.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { nowSeconds } from "@portcullis/testkit";
import { freshPrefix } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { isSoak } from "../../support/soak.js";

type Store = DecisionStore & RevocationStore;

/** The contract of every DecisionStore with its RevocationStore: what the guard relies on, whichever store answers. */
export function describeSecurityStore(name: string, open: () => Promise<Store> | Store): void {
  describe(`${name} keeps the contract of a security store`, () => {
    let store: Store;
    let keys: Keyspace;

    before(async () => {
      store = await open();
    });
    beforeEach(() => {
      keys = new Keyspace(freshPrefix(), "test");
    });

    const charge = (policy: string, partition: string, limit: number, cost = 1, windowSeconds = 60): Consumption => ({
      key: keys.quota(policy, partition),
      limit,
      windowSeconds,
      cost,
    });
    const ask = async (question: Partial<Question>): Promise<Answer> => {
      const answer = await store.ask({ beforeToken: [], token: undefined, afterToken: [], ...question });
      if (answer instanceof StoreFault) throw answer;
      return answer;
    };
    const token = (jti: string, subject = "alice", issuedAt: number | undefined = nowSeconds() - 10) => ({
      revokedKey: keys.revokedToken(jti),
      cutoffKeys: [keys.subjectCutoff(subject)],
      issuedAt,
    });

    describe("counting", () => {
      it("admits up to the limit, then refuses, and a refused request is not counted", async () => {
        const per = charge("p", "a", 3);
        const seen: number[] = [];
        for (let i = 0; i < 6; i += 1) seen.push(consumed((await ask({ beforeToken: [per] })).beforeToken[0]));
        expect(seen).to.deep.equal([1, 2, 3, 4, 4, 4]);
        expect(consumed((await ask({ beforeToken: [{ ...per, limit: 4 }] })).beforeToken[0])).to.equal(4);
      });

      it("counts by cost, refuses a cost that does not fit, and asks without counting at cost 0", async () => {
        const seen: number[] = [];
        for (const cost of [4, 4, 4, 2, 0]) {
          seen.push(consumed((await ask({ afterToken: [charge("p", "a", 10, cost)] })).afterToken[0]));
        }
        expect(seen).to.deep.equal([4, 8, 12, 10, 10]);
      });

      it("refuses everything at limit 0, with the whole window to wait", async () => {
        const tally = tallyOf((await ask({ beforeToken: [charge("p", "a", 0, 1, 30)] })).beforeToken[0]);
        expect(tally).to.deep.equal({ consumed: 1, resetMs: 30_000 });
      });

      it("starts anew when the window ends", async () => {
        const per = charge("p", "a", 1, 1, 1);
        await ask({ beforeToken: [per] });
        const refused = tallyOf((await ask({ beforeToken: [per] })).beforeToken[0]);
        expect(refused.consumed).to.equal(2);
        expect(refused.resetMs).to.be.within(1, 1000);
        await new Promise((resolve) => setTimeout(resolve, refused.resetMs + 20));
        expect(tallyOf((await ask({ beforeToken: [per] })).beforeToken[0])).to.deep.equal({
          consumed: 1,
          resetMs: 1000,
        });
      });

      it("admits exactly the limit of 200 requests at once", async () => {
        const per = charge("p", "a", 50);
        const answers = await Promise.all(Array.from({ length: 200 }, () => ask({ beforeToken: [per] })));
        expect(answers.filter(({ beforeToken }) => consumed(beforeToken[0]) <= 50)).to.have.length(50);
      });
    });

    describe("several policies at once", () => {
      it("count all or nothing", async () => {
        const wide = charge("wide", "a", 10);
        const narrow = charge("narrow", "a", 1);
        await ask({ beforeToken: [wide, narrow] });
        const { beforeToken } = await ask({ beforeToken: [wide, narrow] });
        expect(beforeToken.map(consumed)).to.deep.equal([1, 2]);
        expect((await ask({ beforeToken: [wide] })).beforeToken.map(consumed)).to.deep.equal([2]);
      });

      it("count nowhere if one after the token refuses", async () => {
        const address = charge("ip", "1", 10);
        const user = charge("user", "u", 1);
        await ask({ beforeToken: [address], afterToken: [user] });
        const refused = await ask({ beforeToken: [address], token: token("j"), afterToken: [user] });
        expect([...refused.beforeToken, ...refused.afterToken].map(consumed)).to.deep.equal([1, 2]);
        expect(refused.revoked).to.equal(false);
        await settled();
        expect((await ask({ beforeToken: [address] })).beforeToken.map(consumed)).to.deep.equal([2]);
      });

      it("stop at the first refusal: nothing after an exhausted address is asked or counted", async () => {
        const address = charge("ip", "1", 0);
        const user = charge("user", "u", 5);
        await store.revoke(keys.revokedToken("j"), nowSeconds() + 60);
        const refused = await ask({ beforeToken: [address], token: token("j"), afterToken: [user] });
        expect(refused.revoked).to.equal(undefined);
        expect(refused.afterToken).to.deep.equal([undefined]);
        await settled();
        expect((await ask({ afterToken: [user] })).afterToken.map(consumed)).to.deep.equal([1]);
      });
    });

    describe("revocation", () => {
      it("refuses exactly the revoked token", async () => {
        await store.revoke(keys.revokedToken("bad"), nowSeconds() + 60);
        expect((await ask({ token: token("bad") })).revoked).to.equal(true);
        expect((await ask({ token: token("good") })).revoked).to.equal(false);
      });

      it("charges a revoked token's sender but not its user", async () => {
        await store.revoke(keys.revokedToken("bad"), nowSeconds() + 60);
        const address = charge("ip", "1", 10);
        const user = charge("user", "u", 10);
        const answer = await ask({ beforeToken: [address], token: token("bad"), afterToken: [user] });
        expect(answer.revoked).to.equal(true);
        expect(answer.afterToken).to.deep.equal([undefined]);
        await settled();
        expect((await ask({ beforeToken: [address], afterToken: [user] })).beforeToken.map(consumed)).to.deep.equal([
          2,
        ]);
        expect((await ask({ afterToken: [user] })).afterToken.map(consumed)).to.deep.equal([2]);
      });

      it("counts after a token that it cannot say to be revoked only if such a token may pass", async () => {
        await store.revoke(keys.subjectCutoff("odd"), nowSeconds() + 60);
        const address = charge("ip", "1", 10);
        const users = [charge("user", "u", 4), charge("wide", "u", 10)];
        const question = { beforeToken: [address], token: token("j", "odd"), afterToken: users };
        expect((await ask({ ...question, refusesUnknown: false })).afterToken.map(consumed)).to.deep.equal([1, 1]);
        for (let index = 2; index <= 6; index += 1) {
          const answer = await ask({ ...question, refusesUnknown: true });
          expect(answer.revoked).to.be.instanceOf(StoreFault).and.to.include({ kind: "unreadable" });
          expect(answer.beforeToken.map(consumed)).to.deep.equal([index]);
          expect(answer.afterToken).to.deep.equal([undefined, undefined]);
          await settled();
        }
        // A token that the store knows, and no token at all, are counted whatever the question says.
        const known = await ask({ ...question, token: token("j"), refusesUnknown: true });
        expect([known.revoked, ...known.afterToken.map(consumed)]).to.deep.equal([false, 2, 2]);
        const none = await ask({ afterToken: users, refusesUnknown: true });
        expect(none.afterToken.map(consumed)).to.deep.equal([3, 3]);
      });

      it("needs no record for a token that is already dead", async () => {
        await store.revoke(keys.revokedToken("old"), nowSeconds() - 1);
        expect((await ask({ token: token("old") })).revoked).to.equal(false);
      });

      it("ends with its time, and never earlier for being repeated", async () => {
        await store.revoke(keys.revokedToken("j"), nowSeconds() + 60);
        await store.revoke(keys.revokedToken("j"), nowSeconds() + 1);
        await store.revoke(keys.revokedToken("k"), nowSeconds() + 1);
        await new Promise((resolve) => setTimeout(resolve, 1100));
        expect((await ask({ token: token("j") })).revoked).to.equal(true);
        expect((await ask({ token: token("k") })).revoked).to.equal(false);
      });

      it("cuts off every token issued at or before, and those without a time, and no later one", async () => {
        const cutoff = await store.cutOff(keys.subjectCutoff("mallory"), 60);
        expect(cutoff).to.be.within(nowSeconds() - 5, nowSeconds() + 5);
        const times: [number | undefined, boolean][] = [
          [cutoff - 100, true],
          [cutoff, true],
          [undefined, true],
          [cutoff + 1, false],
        ];
        for (const [issuedAt, revoked] of times) {
          const question = { ...token("j", "mallory"), issuedAt };
          expect((await ask({ token: question })).revoked, String(issuedAt)).to.equal(revoked);
        }
        expect((await ask({ token: token("j", "alice") })).revoked).to.equal(false);
      });

      it("says which cut-off revokes a token, the latest of several, and none where its record does", async () => {
        const first = await store.cutOff(keys.sessionCutoff("s"), 60, 1000);
        const last = await store.cutOff(keys.subjectCutoff("m"), 60);
        const question = { ...token("j", "m", 500), cutoffKeys: [keys.sessionCutoff("s"), keys.subjectCutoff("m")] };
        expect(first).to.equal(1000);
        expect(await ask({ token: question })).to.deep.include({ revoked: true, cutoff: last });
        await store.revoke(keys.revokedToken("j"), nowSeconds() + 60);
        expect((await ask({ token: question })).cutoff).to.equal(undefined);
      });

      it("answers a record in the place of a cut-off with a fault, and applies a readable cut-off beside it", async () => {
        const [odd, sound] = [keys.subjectCutoff("odd"), keys.sessionCutoff("s")];
        await store.revoke(odd, nowSeconds() + 60);
        const question = { revokedKey: keys.revokedToken("j"), cutoffKeys: [odd, sound], issuedAt: nowSeconds() - 10 };
        const address = charge("ip", "1", 10);
        const answer = await ask({ beforeToken: [address], token: question });
        expect(answer.revoked).to.be.instanceOf(StoreFault).and.to.include({ kind: "unreadable" });
        expect(answer.beforeToken.map(consumed)).to.deep.equal([1]);
        await store.cutOff(sound, 60);
        expect((await ask({ token: question })).revoked).to.equal(true);
        await store.cutOff(odd, 60, 1);
        expect(await ask({ token: { ...question, cutoffKeys: [odd] } })).to.deep.include({ revoked: true });
      });

      it("takes a cut-off where a record should be for a revocation", async () => {
        await store.cutOff(keys.revokedToken("j"), 60);
        expect((await ask({ token: token("j") })).revoked).to.equal(true);
      });

      it("finds one revoked token and one cut-off among many that are asked about at once", async () => {
        await store.revoke(keys.revokedToken("t7"), nowSeconds() + 60);
        await store.cutOff(keys.subjectCutoff("u11"), 60);
        await store.revoke(keys.subjectCutoff("u13"), nowSeconds() + 60);
        const answers = await Promise.all(
          Array.from({ length: 150 }, (_, index) => ask({ token: token(`t${index}`, `u${index}`) })),
        );
        answers.forEach(({ revoked }, index) => {
          if (index === 13) expect(revoked).to.be.instanceOf(StoreFault);
          else expect(revoked, String(index)).to.equal([7, 11].includes(index));
        });
      });

      it("refuses a cut-off at a time that is none, and a life that is none", async () => {
        const key = keys.subjectCutoff("m");
        const cases = [
          ...[Number.NaN, -1, Infinity, -Infinity].map((at) => [60, at]),
          ...[Number.NaN, 0, -1, 1.5].map((ttl) => [ttl, 1]),
        ] as [number, number][];
        for (const [ttl, at] of cases) {
          const error = await rejectionOf(store.cutOff(key, ttl, at));
          expect(error, String([ttl, at])).to.be.instanceOf(RangeError);
        }
        expect((await ask({ token: token("j", "m") })).revoked).to.equal(false);
        expect(await store.cutOff(key, 60, 1000.9)).to.equal(1000);
      });

      it("never moves a cut-off back", async () => {
        const first = await store.cutOff(keys.subjectCutoff("m"), 60);
        expect(await store.cutOff(keys.subjectCutoff("m"), 60)).to.be.at.least(first);
      });

      it("keeps hostile identifiers apart", async () => {
        const hostile = [
          "*",
          "{x}",
          "a:b",
          "a",
          "b",
          "\r\nSET x 1",
          "\0",
          "__proto__",
          "\ud800",
          "\udfff",
          "\ufffd",
          "x".repeat(4096),
        ];
        for (const [index, jti] of hostile.entries()) {
          await store.revoke(keys.revokedToken(jti), nowSeconds() + 60);
          for (const [other, id] of hostile.entries()) {
            expect((await ask({ token: token(id) })).revoked, JSON.stringify([jti, id])).to.equal(other <= index);
          }
        }
      });
    });

    describe("a use", () => {
      const use = (name: string, ttlMs = 60_000) => ({ key: keys.proof("thumbprint", name), ttlMs });

      it("is recorded once, in any order of requests", async () => {
        const answers = await Promise.all(Array.from({ length: 50 }, () => ask({ replayCheck: use("one") })));
        expect(answers.filter(({ replayed }) => replayed === false)).to.have.length(1);
        expect(answers.filter(({ replayed }) => replayed === true)).to.have.length(49);
        expect((await ask({ replayCheck: use("two") })).replayed).to.equal(false);
        expect((await ask({})).replayed).to.equal(undefined);
      });

      it("is forgotten after its time", async () => {
        expect((await ask({ replayCheck: use("short", 300) })).replayed).to.equal(false);
        expect((await ask({ replayCheck: use("short", 300) })).replayed).to.equal(true);
        await new Promise((resolve) => setTimeout(resolve, 400));
        expect((await ask({ replayCheck: use("short", 300) })).replayed).to.equal(false);
      });

      it("comes after the address and the token, and before the user: repeated, it costs the address alone", async () => {
        const address = charge("ip", "1", 10);
        const user = charge("user", "u", 10);
        const question = { beforeToken: [address], token: token("j"), replayCheck: use("p"), afterToken: [user] };
        expect(await ask(question)).to.deep.include({ revoked: false, replayed: false });
        const again = await ask(question);
        expect([again.revoked, again.replayed, ...again.afterToken]).to.deep.equal([false, true, undefined]);
        await settled();
        const counted = await ask({ beforeToken: [{ ...address, cost: 0 }], afterToken: [{ ...user, cost: 0 }] });
        expect([...counted.beforeToken, ...counted.afterToken].map(consumed)).to.deep.equal([2, 1]);
      });

      it("stays with its own request in a batch", async () => {
        const answers = await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            ask({
              beforeToken: [charge("ip", String(index), 5)],
              token: token(`t${index}`),
              ...(index % 2 === 0 ? { replayCheck: use(`u${index % 4}`) } : {}),
              afterToken: [charge("user", String(index), 5)],
            }),
          ),
        );
        const firsts = answers.filter(({ replayed }) => replayed === false).length;
        expect([firsts, answers.filter(({ replayed }) => replayed === undefined).length]).to.deep.equal([2, 10]);
        for (const { beforeToken, replayed, afterToken } of answers) {
          expect(beforeToken.map(consumed)).to.deep.equal([1]);
          expect(afterToken.map((part) => part !== undefined)).to.deep.equal([replayed !== true]);
        }
      });
    });

    it("agrees with the model, whatever is asked", async () => {
      const part = fc.record({ policy: fc.integer({ min: 0, max: 2 }), cost: fc.integer({ min: 0, max: 3 }) });
      const request = fc.record({
        before: fc.uniqueArray(part, { maxLength: 2, selector: ({ policy }) => policy }),
        after: fc.uniqueArray(part, { maxLength: 2, selector: ({ policy }) => policy }),
        jti: fc.option(fc.constantFrom("good", "bad"), { nil: undefined }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(request, { maxLength: 25 }), async (requests) => {
          keys = new Keyspace(freshPrefix(), "test");
          const model = new Map<string, number>();
          await store.revoke(keys.revokedToken("bad"), nowSeconds() + 60);
          for (const { before, after, jti } of requests) {
            const beforeToken = before.map(({ policy, cost }) => charge(`b${policy}`, "x", 4 + policy, cost));
            const afterToken = after.map(({ policy, cost }) => charge(`a${policy}`, "y", 4 + policy, cost));
            const answer = await ask({ beforeToken, token: jti === undefined ? undefined : token(jti), afterToken });
            await settled();
            expect(decisionOf({ beforeToken, afterToken }, answer)).to.equal(
              decide(model, beforeToken, jti, afterToken),
            );
          }
        }),
        { numRuns: isSoak ? 25 : 12 },
      );
    });

    /** Lets what a store does after answering (refunds in Cluster) reach it before the next question. */
    async function settled(): Promise<void> {
      await ask({ token: token("settled") });
    }
  });
}

/** The model: who refuses, and what that counts. */
function decide(
  model: Map<string, number>,
  before: Consumption[],
  jti: string | undefined,
  after: Consumption[],
): string {
  const fits = ({ key, cost, limit }: Consumption): boolean => (model.get(key) ?? 0) + cost <= limit;
  const count = ({ key, cost }: Consumption): unknown => model.set(key, (model.get(key) ?? 0) + cost);
  if (!before.every(fits)) return "before";
  if (jti === "bad") return (before.forEach(count), "revoked");
  if (!after.every(fits)) return "after";
  [...before, ...after].forEach(count);
  return "admitted";
}

function decisionOf({ beforeToken, afterToken }: Omit<Question, "token">, answer: Answer): string {
  const refuses = (charges: readonly Consumption[], tallies: Answer["afterToken"]): boolean =>
    charges.some(({ limit }, index) => tallies[index] !== undefined && consumed(tallies[index]) > limit);
  if (refuses(beforeToken, answer.beforeToken)) return "before";
  if (answer.revoked === true) return "revoked";
  return refuses(afterToken, answer.afterToken) ? "after" : "admitted";
}

export function tallyOf(part: CounterState | StoreFault | undefined): CounterState {
  if (part === undefined || part instanceof StoreFault) throw new Error(`no tally but ${String(part)}`);
  return part;
}

export function consumed(part: CounterState | StoreFault | undefined): number {
  return tallyOf(part).consumed;
}
