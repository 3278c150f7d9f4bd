import { expect } from "chai";
import fc from "fast-check";
import { TrackedAnswers } from "../../../packages/core/src/store/redis/tracked-answers.js";
import type {
  Answer,
  Question,
  DecisionStore,
  TokenQuestion,
} from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { RevocationStore } from "../../../packages/core/src/store/ports/revocation.js";
import { isSoak } from "../../support/soak.js";

/** A store whose answers come when the test lets them, and a clock and invalidations it moves. */
function open(boundMs = 2000) {
  const revoked = new Set<string>();
  const cutoffs = new Map<string, number>();
  const state = { ms: 0, alive: true, asked: 0, held: undefined as Promise<void> | undefined };
  const judge = ({ revokedKey, cutoffKeys, issuedAt }: TokenQuestion): boolean =>
    revoked.has(revokedKey) ||
    cutoffKeys.some((key) => {
      const cutoff = cutoffs.get(key);
      return cutoff !== undefined && (issuedAt === undefined || issuedAt <= cutoff);
    });
  const store: DecisionStore & RevocationStore = {
    async ask({ token, beforeToken }: Question): Promise<Answer> {
      if (token !== undefined) state.asked += 1;
      // Read first, answer later: what changes in between is the race.
      const answer = token === undefined ? undefined : judge(token);
      await state.held;
      return { revoked: answer, beforeToken: beforeToken.map(() => ({ consumed: 1, resetMs: 1 })), afterToken: [] };
    },
    revoke: (key) => Promise.resolve(void revoked.add(key)),
    cutOff: (key, _ttl, at = 0) => Promise.resolve((cutoffs.set(key, at), at)),
  };
  const answers = new TrackedAnswers({
    store,
    maxAgeMs: boundMs,
    invalidations: { isAlive: () => state.alive },
    now: () => state.ms,
  });
  const token = (jti: string, issuedAt: number | undefined = 100): TokenQuestion => ({
    revokedKey: `r:${jti}`,
    cutoffKeys: ["c:alice"],
    issuedAt,
  });
  async function isRevoked(question: TokenQuestion, beforeToken: Question["beforeToken"] = []): Promise<boolean> {
    const answer = await answers.ask({ beforeToken, token: question, afterToken: [] });
    if (answer instanceof StoreFault || typeof answer.revoked !== "boolean") throw new Error("no answer");
    return answer.revoked;
  }
  return { state, store, revoked, cutoffs, answers, token, isRevoked };
}

describe("a tracked answer", () => {
  it("is kept for the bound, and asked again after it", async () => {
    const { state, token, isRevoked } = open();
    for (let round = 0; round < 5; round += 1) expect(await isRevoked(token("a"))).to.equal(false);
    expect(state.asked).to.equal(1);
    state.ms = 2000;
    expect(await isRevoked(token("a"))).to.equal(false);
    expect(state.asked).to.equal(2);
  });

  it("stands where the store has nothing to say of limits and proofs, since it is down or takes no writes", async () => {
    const { answers, store, token, isRevoked } = open();
    expect(await isRevoked(token("a"))).to.equal(false);
    const charge = { key: "k", limit: 1, windowMs: 1, cost: 1 } as never;
    const fault = new StoreFault("open");
    for (const answer of [fault, Promise.resolve(fault)]) {
      store.ask = () => answer;
      const use = { key: "u", ttlMs: 1 };
      const question = { beforeToken: [charge], token: token("a"), replayCheck: use, afterToken: [charge, charge] };
      expect(await answers.ask(question)).to.deep.equal({
        beforeToken: [fault],
        revoked: false,
        replayed: fault,
        afterToken: [fault, fault],
      });
    }
  });

  it("is dropped when its key, or everything, is said to have changed", async () => {
    const { state, revoked, cutoffs, answers, token, isRevoked } = open();
    await isRevoked(token("a"));
    revoked.add("r:a");
    expect(await isRevoked(token("a"))).to.equal(false);
    answers.invalidate("r:a");
    expect(await isRevoked(token("a"))).to.equal(true);
    await isRevoked(token("b"));
    cutoffs.set("c:alice", 100);
    answers.invalidate("c:alice");
    expect(await isRevoked(token("b"))).to.equal(true);
    await isRevoked(token("c", 101));
    const asked = state.asked;
    answers.flush();
    await isRevoked(token("c", 101));
    expect(state.asked).to.equal(asked + 1);
  });

  it("is not kept if its key changed while it was under way", async () => {
    for (const change of ["invalidate", "flush"] as const) {
      const { state, revoked, answers, token, isRevoked } = open();
      let release: () => void = () => undefined;
      state.held = new Promise((resolve) => (release = resolve));
      const early = isRevoked(token("a"));
      revoked.add("r:a");
      if (change === "flush") answers.flush();
      else answers.invalidate("r:a");
      release();
      expect(await early).to.equal(false);
      expect(await isRevoked(token("a")), change).to.equal(true);
    }
  });

  it("is not used without proof that changes are received", async () => {
    const { state, token, isRevoked } = open();
    await isRevoked(token("a"));
    state.alive = false;
    await isRevoked(token("a"));
    await isRevoked(token("a"));
    expect(state.asked).to.equal(3);
  });

  it("is never 'revoked': that is asked every time", async () => {
    const { state, revoked, token, isRevoked } = open();
    revoked.add("r:a");
    expect([await isRevoked(token("a")), await isRevoked(token("a"))]).to.deep.equal([true, true]);
    expect(state.asked).to.equal(2);
  });

  it("about a token is not used for an older token of the same user", async () => {
    const { cutoffs, token, isRevoked } = open();
    cutoffs.set("c:alice", 150);
    expect(await isRevoked(token("new", 200))).to.equal(false);
    expect(await isRevoked(token("old", 150))).to.equal(true);
    const undated: TokenQuestion = { ...token("undated"), issuedAt: undefined };
    expect(await isRevoked(undated)).to.equal(true);
  });

  it("ends at once where this process itself revokes", async () => {
    const { answers, token, isRevoked } = open();
    await isRevoked(token("a"));
    await answers.revoke("r:a", 1000);
    expect(await isRevoked(token("a"))).to.equal(true);
    await isRevoked(token("b", 10));
    await answers.cutOff("c:alice", 60, 10);
    expect(await isRevoked(token("b", 10))).to.equal(true);
  });

  it("leaves the counting to the store", async () => {
    const { answers, token } = open();
    const charge = { key: "k", limit: 5, windowSeconds: 60, cost: 1 };
    for (let round = 0; round < 2; round += 1) {
      const answer = await answers.ask({ beforeToken: [charge], token: token("a"), afterToken: [] });
      expect(answer).to.deep.equal({ revoked: false, beforeToken: [{ consumed: 1, resetMs: 1 }], afterToken: [] });
    }
  });

  it("passes faults on, and stores no fault", async () => {
    const { store, answers, token, state } = open();
    const fault = new StoreFault("timeout");
    const ask = store.ask.bind(store);
    store.ask = () => Promise.resolve(fault);
    expect(await answers.ask({ beforeToken: [], token: token("a"), afterToken: [] })).to.equal(fault);
    store.ask = ask;
    await answers.ask({ beforeToken: [], token: token("a"), afterToken: [] });
    expect(state.asked).to.equal(1);
  });

  it("agrees with the store whatever happens, as long as changes are heard in time", async () => {
    const name = fc.constantFrom("a", "b", "c");
    const issued = fc.option(fc.integer({ min: 0, max: 20 }), { nil: undefined });
    const step = fc.oneof(
      fc.record({ kind: fc.constant("ask" as const), name, issued }),
      fc.record({ kind: fc.constant("revoke" as const), name }),
      fc.record({ kind: fc.constant("cut" as const), at: fc.integer({ min: 0, max: 20 }) }),
      fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 3000 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { state, revoked, cutoffs, answers, token, isRevoked } = open();
        for (const one of steps) {
          if (one.kind === "wait") state.ms += one.ms;
          if (one.kind === "revoke") {
            revoked.add(`r:${one.name}`);
            answers.invalidate(`r:${one.name}`);
          }
          if (one.kind === "cut") {
            cutoffs.set("c:alice", Math.max(one.at, cutoffs.get("c:alice") ?? 0));
            answers.invalidate("c:alice");
          }
          if (one.kind === "ask") {
            const question = { ...token(one.name), issuedAt: one.issued };
            const cutoff = cutoffs.get("c:alice");
            const expected =
              revoked.has(`r:${one.name}`) ||
              (cutoff !== undefined && (one.issued === undefined || one.issued <= cutoff));
            expect(await isRevoked(question)).to.equal(expected);
          }
        }
      }),
      { numRuns: isSoak ? 300 : 100 },
    );
  });
});
