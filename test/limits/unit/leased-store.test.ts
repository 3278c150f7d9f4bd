import { expect } from "chai";
import { LeasedStore } from "../../../packages/core/src/limits/leases/leased-store.js";
import type { LeaseGrant, LeaseRequest, LeaseSource } from "../../../packages/core/src/store/ports/leases.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type {
  Answer,
  Consumption,
  Question,
  DecisionStore,
  TokenQuestion,
} from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { until } from "../../support/until.js";

/** A store in process that can be away, and counts how often it is asked. */
class Shelf implements DecisionStore {
  readonly #inner = new MemoryDecisionStore();
  readonly revoke: MemoryDecisionStore["revoke"] = (key, expiresAt) => this.#inner.revoke(key, expiresAt);
  asked = 0;
  away: StoreFault | undefined;

  ask(question: Question): Answer | StoreFault {
    this.asked += 1;
    return this.away ?? this.#inner.ask(question);
  }

  counter(charge: Consumption): number {
    const answer = this.#inner.ask({ beforeToken: [{ ...charge, cost: 0 }], token: undefined, afterToken: [] });
    return (answer.beforeToken[0] as { consumed: number }).consumed;
  }
}

const windowEnd = 4_000_000_000_000;

/** Grants what is asked for, counting it in the shelf; a request that gives back is only noted. */
class Source implements LeaseSource {
  readonly requests: LeaseRequest[] = [];
  readonly #shelf: Shelf;
  up = true;
  fails = false;

  constructor(shelf: Shelf) {
    this.#shelf = shelf;
  }

  isUp(): boolean {
    return this.up;
  }

  exchange(requests: readonly LeaseRequest[]): Promise<LeaseGrant[]> {
    if (this.fails) return Promise.reject(new StoreFault("timeout"));
    this.requests.push(...requests);
    return Promise.resolve(requests.map((request) => this.#grant(request)));
  }

  #grant({ key, take }: LeaseRequest): LeaseGrant {
    const granted = take === 0 ? 0 : 10;
    const charge: Consumption = { key, limit: 1000, windowSeconds: 60, cost: granted };
    if (granted > 0) {
      this.#shelf.ask({ beforeToken: [charge], token: undefined, afterToken: [] });
      this.#shelf.asked -= 1;
    }
    return { granted, consumed: this.#shelf.counter(charge), resetMs: 60_000, windowEnd };
  }
}

const charge = (key: string, limit = 1000, cost = 1): Consumption => ({
  key,
  limit,
  cost,
  windowSeconds: 60,
  leased: true,
});
const exact = (key: string, limit = 1000): Consumption => ({ key, limit, cost: 1, windowSeconds: 60 });
const token: TokenQuestion = { revokedKey: "revoked:bad", cutoffKeys: [], issuedAt: 1 };

describe("a store with leases", () => {
  let shelf: Shelf;
  let source: Source;
  let store: LeasedStore;

  beforeEach(() => {
    shelf = new Shelf();
    source = new Source(shelf);
    store = new LeasedStore({ store: shelf, source, gatherMs: 1 });
  });
  afterEach(() => store.close());

  const ask = async (question: Partial<Question>): Promise<Answer> => {
    const answer = await store.ask({ beforeToken: [], token: undefined, afterToken: [], ...question });
    if (answer instanceof StoreFault) throw answer;
    return answer;
  };
  const consumed = ({ beforeToken, afterToken }: Answer): (number | undefined)[] =>
    [...beforeToken, ...afterToken].map((tally) =>
      tally === undefined || tally instanceof StoreFault ? undefined : tally.consumed,
    );
  /** Has ten points of this quota in the process. */
  async function lease(one: Consumption): Promise<void> {
    const known = source.requests.length;
    await ask({ beforeToken: [one] });
    await ask({ beforeToken: [one] });
    await until(() => source.requests.length > known);
    shelf.asked = 0;
  }

  it("answers at once from its leases, with the counter state that the store would give", async () => {
    await lease(charge("a"));
    for (let index = 3; index < 9; index += 1) {
      const answer = store.ask({ beforeToken: [charge("a")], token: undefined, afterToken: [] });
      expect(answer).not.to.be.instanceOf(Promise);
      const [tally] = (answer as Answer).beforeToken;
      expect(tally).to.have.property("consumed", index);
      expect((tally as { resetMs: number }).resetMs).to.be.within(50_000, 60_000);
    }
    expect(shelf.asked).to.equal(0);
  });

  it("asks the store for consumptions without a lease, and for no others", async () => {
    await lease(charge("a"));
    expect(consumed(await ask({ beforeToken: [charge("a"), exact("b")] }))).to.deep.equal([3, 1]);
    expect(shelf.asked).to.equal(1);
    expect(shelf.counter(charge("a"))).to.equal(12);
    expect(consumed(await ask({ beforeToken: [charge("a", 1000, 12)] }))).to.deep.equal([15]);
    expect(shelf.counter(charge("a"))).to.equal(15);
  });

  it("asks nothing more of a question without leased charges", async () => {
    expect(consumed(await ask({ beforeToken: [exact("a")], afterToken: [exact("b")] }))).to.deep.equal([1, 1]);
    expect(source.requests).to.deep.equal([]);
  });

  it("gives out nothing to a request that another policy refuses, before or after the token", async () => {
    await lease(charge("a"));
    expect(consumed(await ask({ beforeToken: [charge("a"), exact("no", 0)] }))).to.deep.equal([2, 1]);
    expect(consumed(await ask({ beforeToken: [charge("a")], afterToken: [exact("no", 0)] }))).to.deep.equal([2, 1]);
    expect(consumed(await ask({ beforeToken: [exact("no", 0)], afterToken: [charge("a")] }))).to.deep.equal([
      1,
      undefined,
    ]);
    expect(consumed(await ask({ beforeToken: [charge("a")] }))).to.deep.equal([3]);
  });

  it("charges a revoked token's sender from a lease, and its user nothing", async () => {
    await lease(charge("ip"));
    await lease(charge("user"));
    await shelf.revoke("revoked:bad", Date.now() / 1000 + 60);
    const refused = await ask({ beforeToken: [charge("ip")], token, afterToken: [charge("user")] });
    expect(refused.revoked).to.equal(true);
    expect(consumed(refused)).to.deep.equal([3, undefined]);
    expect(consumed(await ask({ beforeToken: [charge("ip")], afterToken: [charge("user")] }))).to.deep.equal([4, 3]);
    expect(shelf.asked).to.equal(1);
  });

  it("charges nobody's lease for a token that is unknown, if such a token is refused", async () => {
    await lease(charge("ip"));
    await lease(charge("user"));
    await shelf.revoke("cutoff:odd", Date.now() / 1000 + 60);
    const question = {
      beforeToken: [charge("ip")],
      token: { ...token, cutoffKeys: ["cutoff:odd"] },
      afterToken: [charge("user")],
    };
    for (const sender of [3, 4, 5])
      expect(consumed(await ask({ ...question, refusesUnknown: true }))).to.deep.equal([sender, undefined]);
    expect(consumed(await ask({ ...question, refusesUnknown: false }))).to.deep.equal([6, 3]);
  });

  it("says of a slot that it may be taken, although a token that is unknown is refused", async () => {
    await lease(charge("user"));
    shelf.away = new StoreFault("timeout");
    const slot: Consumption = {
      ...exact("slots"),
      slot: "s",
      mode: { algorithm: "concurrency", shadow: false, block: undefined },
    };
    const answer = await ask({ token, afterToken: [charge("user"), slot], refusesUnknown: true });
    expect(answer.revoked).to.equal(shelf.away);
    expect(answer.afterToken).to.deep.equal([undefined, shelf.away]);
    shelf.away = undefined;
    expect(consumed(await ask({ afterToken: [charge("user")] }))).to.deep.equal([3]);
  });

  it("charges a repeated proof's sender and not its user", async () => {
    await lease(charge("ip"));
    await lease(charge("user"));
    const question = {
      beforeToken: [charge("ip")],
      replayCheck: { key: "p", ttlMs: 1000 },
      afterToken: [charge("user")],
    };
    expect((await ask(question)).replayed).to.equal(false);
    const again = await ask(question);
    expect([again.replayed, ...consumed(again)]).to.deep.equal([true, 4, undefined]);
    expect(consumed(await ask({ afterToken: [charge("user")] }))).to.deep.equal([4]);
  });

  it("uses its leases while the store is down, and then returns the fault", async () => {
    await lease(charge("a"));
    shelf.away = new StoreFault("unreachable");
    source.up = false;
    for (let index = 3; index <= 12; index += 1) {
      expect(consumed(await ask({ beforeToken: [charge("a")] }))).to.deep.equal([index]);
    }
    expect((await ask({ beforeToken: [charge("a")] })).beforeToken[0]).to.equal(shelf.away);
    expect((await ask({ beforeToken: [charge("a")], token })).revoked).to.equal(shelf.away);
  });

  it("gives back the leased part of a request whose other part could not be counted", async () => {
    await lease(charge("a"));
    shelf.away = new StoreFault("unreachable");
    const answer = await ask({ beforeToken: [charge("a", 1000, 11), exact("b")] });
    expect(answer.beforeToken).to.deep.equal([shelf.away, shelf.away]);
    expect(consumed(await ask({ beforeToken: [charge("a", 1000, 10)] }))).to.deep.equal([12]);
  });

  it("never asks twice for an answer that did not come", async () => {
    source.fails = true;
    await ask({ beforeToken: [charge("a")] });
    await ask({ beforeToken: [charge("a")] });
    await new Promise((resolve) => setTimeout(resolve, 30));
    source.fails = false;
    expect(consumed(await ask({ beforeToken: [charge("a")] }))).to.deep.equal([3]);
    expect(source.requests).to.deep.equal([]);
  });

  it("gives back its leases when it closes, and leases nothing afterwards", async () => {
    await lease(charge("a"));
    await store.end();
    const back = source.requests.filter(({ giveBack }) => giveBack > 0);
    expect(back).to.deep.equal([{ key: "a", limit: 1000, take: 0, giveBack: 10, windowEnd, windowMs: 60_000 }]);
    const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    await store.end();
    expect(process.getActiveResourcesInfo().filter((name) => name === "Timeout")).to.have.length.at.most(timers);
  });

  it("closes in time without an answer", async () => {
    await lease(charge("a"));
    source.exchange = () => new Promise(() => undefined);
    const start = performance.now();
    await store.end();
    expect(performance.now() - start).to.be.below(2500);
  });
});
