import { expect } from "chai";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type {
  ClaimAnswer,
  IdempotencyClaim,
  IdempotencyStore,
} from "../../../packages/core/src/store/ports/idempotency.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { freshPrefix } from "../../support/redis.js";
import { until } from "../../support/until.js";

/** The contract of every store of idempotent requests. */
export function describeIdempotencyStore(what: string, open: () => IdempotencyStore): void {
  describe(`${what} of idempotent requests`, () => {
    let store: IdempotencyStore;
    let key: string;

    before(() => (store = open()));
    beforeEach(() => (key = new Keyspace(freshPrefix(), "test").coordination("idempotency", "a key")));

    function claim(owner: string, rest: Partial<IdempotencyClaim> = {}): Promise<ClaimAnswer | StoreFault> {
      return store.claim({ key, owner, fingerprint: "print_-1", leaseMs: 30_000, waits: false, ...rest });
    }

    function complete(response: string, fingerprint = "print_-1", ttlMs = 60_000): Promise<StoreFault | undefined> {
      return store.complete({ key, fingerprint, response, ttlMs });
    }

    it("gives a key to one owner, also of 50 at once, and to the same one again", async () => {
      const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => claim(`owner-${index}`)));
      const states = answers.map((answer) => (answer instanceof StoreFault ? answer.kind : answer.state));
      expect(states.filter((state) => state === "claimed")).to.have.length(1);
      expect(states.filter((state) => state === "running")).to.have.length(49);
      expect(await claim(`owner-${states.indexOf("claimed")}`)).to.deep.equal({ state: "claimed" });
    });

    it("says how long a lease has left, and ends it", async () => {
      await claim("a", { leaseMs: 300 });
      const running = await claim("b");
      expect(running).to.include({ state: "running" });
      expect((running as { leftMs: number }).leftMs).to.be.within(0, 300);
      await until(async () => ((await claim("b")) as { state?: string }).state === "claimed");
      expect(await claim("a")).to.include({ state: "running" });
    });

    it("begins the lease of its owner anew", async () => {
      await claim("a", { leaseMs: 200 });
      await claim("a", { leaseMs: 30_000 });
      const running = await claim("b");
      expect((running as { leftMs: number }).leftMs).to.be.greaterThan(10_000);
    });

    it("keeps the first response, and gives it to every later claim with this fingerprint", async () => {
      await claim("a");
      expect(await complete("one\n\0\u20ac\u{1f600}")).to.equal(undefined);
      expect(await complete("two")).to.equal(undefined);
      for (const owner of ["a", "b"])
        expect(await claim(owner)).to.deep.equal({ state: "completed", response: "one\n\0\u20ac\u{1f600}" });
      await store.release({ key, owner: "a" });
      expect(await claim("b")).to.include({ state: "completed" });
    });

    it("keeps a response without a lease, and one whose lease another has", async () => {
      await claim("b");
      await complete("of a");
      expect(await claim("b")).to.deep.equal({ state: "completed", response: "of a" });
    });

    it("tells another fingerprint from this one, while it runs and afterwards, and keeps nothing for it", async () => {
      await claim("a");
      expect(await claim("b", { fingerprint: "other" })).to.deep.equal({ state: "mismatch" });
      expect(await claim("a", { fingerprint: "other" })).to.deep.equal({ state: "mismatch" });
      await complete("late", "other");
      expect(await claim("b")).to.include({ state: "running" });
      await complete("one");
      expect(await claim("b", { fingerprint: "other" })).to.deep.equal({ state: "mismatch" });
    });

    it("ends the response after its time", async () => {
      await claim("a");
      await complete("one", "print_-1", 200);
      expect(await claim("b")).to.include({ state: "completed" });
      await until(async () => ((await claim("b")) as { state?: string }).state === "claimed");
    });

    it("lets only the owner release a key", async () => {
      await claim("a");
      await store.release({ key, owner: "b" });
      expect(await claim("c")).to.include({ state: "running" });
      await store.release({ key, owner: "a" });
      expect(await claim("c")).to.deep.equal({ state: "claimed" });
    });

    for (const [how, end] of [
      ["is completed", () => complete("one")],
      ["is released", () => store.release({ key, owner: "a" })],
    ] as const) {
      it(`wakes those who wait when a request ${how}`, async () => {
        await claim("a");
        let woken = 0;
        const stop = store.watch(key, () => (woken += 1));
        expect(await claim("b", { waits: true })).to.include({ state: "running" });
        // The beginning of a subscription wakes, too.
        await new Promise((resolve) => setTimeout(resolve, 50));
        const before = woken;
        await claim("a");
        await end();
        await until(() => woken > before);
        stop();
      });
    }
  });
}
