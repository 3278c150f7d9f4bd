import { expect } from "chai";
import fc from "fast-check";
import type { Reservation } from "../../../packages/core/src/limits/leases/lease-manager.js";
import { LeaseManager } from "../../../packages/core/src/limits/leases/lease-manager.js";
import type { LeaseGrant, LeaseRequest } from "../../../packages/core/src/store/ports/leases.js";
import type { Consumption } from "../../../packages/core/src/store/ports/decisions.js";
import { isSoak } from "../../support/soak.js";

const windowMs = 10_000;
const runs = isSoak ? 500 : 150;

/** A store that counts fixed windows and grants parts of them, in ten lines. */
class Model {
  readonly #counters = new Map<string, { consumed: number; end: number }>();

  count({ key, limit, cost }: Consumption, now: number): boolean {
    let counter = this.#counters.get(key);
    if (counter === undefined || counter.end <= now) counter = { consumed: 0, end: now + windowMs };
    if (counter.consumed + cost > limit) return false;
    counter.consumed += cost;
    if (cost > 0) this.#counters.set(key, counter);
    return true;
  }

  exchange({ key, limit, take, giveBack, windowEnd }: LeaseRequest, now: number): LeaseGrant {
    const counter = this.#counters.get(key);
    if (counter === undefined || counter.end <= now) return { granted: 0, consumed: 0, resetMs: 0, windowEnd: 0 };
    if (counter.end === windowEnd) counter.consumed -= giveBack;
    const granted = Math.max(0, Math.min(take, Math.floor((limit - counter.consumed) / 16)));
    counter.consumed += granted;
    return { granted, consumed: counter.consumed, resetMs: counter.end - now, windowEnd: counter.end };
  }

  /** The counter of a window that has not ended. */
  consumed(key: string, now: number): number {
    const counter = this.#counters.get(key);
    return counter === undefined || counter.end <= now ? 0 : counter.consumed;
  }

  windowOf(key: string, now: number): number {
    const end = this.#counters.get(key)?.end ?? 0;
    return end <= now ? now + windowMs : end;
  }
}

/** Some processes on one store, with a clock that the test moves. */
class World {
  now = 1_000_000;
  readonly model = new Model();
  readonly books: LeaseManager[];
  /** What was admitted, by quota and window. */
  readonly admitted = new Map<string, number>();

  constructor(processes: number, capacity?: number) {
    this.books = Array.from({ length: processes }, () => new LeaseManager({ now: () => this.now, capacity }));
  }

  /** One request, as a leased store makes it. Points that a lease covers need no answer of the store. */
  request(process: number, charge: Consumption): "leased" | "counted" | "refused" {
    const book = this.book(process);
    const reservation = book.reserve(charge);
    const rest = { ...charge, cost: charge.cost - (reservation?.points ?? 0) };
    const window = `${charge.key} ${this.model.windowOf(charge.key, this.now)}`;
    if (rest.cost > 0 || reservation === undefined) {
      if (!this.model.count(rest, this.now)) {
        if (reservation !== undefined) book.release(reservation);
        return "refused";
      }
      book.noteCounted(rest, this.model.consumed(charge.key, this.now));
    }
    this.admitted.set(window, (this.admitted.get(window) ?? 0) + charge.cost);
    return rest.cost > 0 ? "counted" : "leased";
  }

  /** Everything that a process wants, asked now and answered after a while; undefined loses the answer. */
  exchange(process: number, delayMs: number | undefined): void {
    const book = this.book(process);
    book.sweep();
    const sentAt = this.now;
    const requests = book.collect(64);
    const grants = requests.map((request) => this.model.exchange(request, this.now));
    this.now += delayMs ?? 0;
    requests.forEach((request, index) => {
      if (delayMs === undefined) book.fail(request);
      else book.apply(request, grants[index]!, sentAt);
    });
  }

  book(process: number): LeaseManager {
    return this.books[process]!;
  }
}

const charge = (key: string, limit: number, cost = 1): Consumption => ({
  key,
  limit,
  cost,
  windowSeconds: windowMs / 1000,
});

describe("parts of a quota", () => {
  const step = fc.record({
    wait: fc.oneof({ weight: 5, arbitrary: fc.nat({ max: 30 }) }, { weight: 1, arbitrary: fc.nat({ max: 4000 }) }),
    process: fc.nat({ max: 3 }),
    key: fc.constantFrom("a", "a", "b"),
    cost: fc.constantFrom(0, 1, 1, 1, 3, 7),
    renews: fc.boolean(),
    delay: fc.option(fc.nat({ max: 40 }), { nil: undefined, freq: 8 }),
  });
  const life = fc.array(step, { minLength: 20, maxLength: 200 });

  function play(
    world: World,
    limit: number,
    steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[],
  ) {
    for (const { wait, process, key, cost, renews, delay } of steps) {
      world.now += wait;
      world.request(process % world.books.length, charge(key, limit, cost));
      if (renews) world.exchange(process % world.books.length, delay);
    }
  }

  it("never add up to more than the quota, in any window, however many processes hold them", () => {
    fc.assert(
      fc.property(life, fc.constantFrom(3, 20, 100, 1000), (steps, limit) => {
        const world = new World(4);
        play(world, limit, steps);
        for (const [window, points] of world.admitted) expect(points, window).to.be.at.most(limit);
      }),
      { numRuns: runs },
    );
  });

  it("are all used or given back: the counter of the store equals the admitted requests", () => {
    fc.assert(
      fc.property(life, fc.constantFrom(20, 100, 1000), (steps, limit) => {
        const world = new World(4);
        play(
          world,
          limit,
          steps.map((one) => ({ ...one, delay: one.delay ?? 1 })),
        );
        for (const book of world.books) book.drain();
        for (let process = 0; process < 4; process += 1)
          while (world.book(process).hasRequests) world.exchange(process, 0);
        for (const key of ["a", "b"]) {
          const window = `${key} ${world.model.windowOf(key, world.now)}`;
          expect(world.model.consumed(key, world.now)).to.equal(world.admitted.get(window) ?? 0);
        }
      }),
      { numRuns: runs },
    );
  });

  it("make one process decide as the store alone would, request by request", () => {
    fc.assert(
      fc.property(life, fc.constantFrom(0, 3, 20, 100), (steps, limit) => {
        const world = new World(1);
        const exact = new Model();
        for (const { wait, key, cost, renews, delay } of steps) {
          world.now += wait;
          const outcome = world.request(0, charge(key, limit, cost));
          expect(outcome !== "refused").to.equal(exact.count(charge(key, limit, cost), world.now));
          if (renews) world.exchange(0, delay ?? 0);
        }
      }),
      { numRuns: runs },
    );
  });
});

describe("a process with steady requests for one quota", () => {
  it("soon answers without a call, renews its lease in time, and takes the points for one lifetime", () => {
    const world = new World(1);
    const outcomes: string[] = [];
    for (let index = 0; index < 4000; index += 1) {
      world.now += 2;
      outcomes.push(world.request(0, charge("a", 1_000_000)));
      if (index % 10 === 9) world.exchange(0, 1);
    }
    expect(outcomes.slice(0, 2)).to.deep.equal(["counted", "counted"]);
    expect(outcomes.filter((outcome) => outcome === "leased").length).to.be.at.least(3800);
    expect(outcomes.slice(-2000)).to.not.include("counted");
    // 500 requests a second, a life of half a second: it holds no more than two lives' worth.
    const idle =
      world.model.consumed("a", world.now) - (world.admitted.get(`a ${world.model.windowOf("a", world.now)}`) ?? 0);
    expect(idle).to.be.at.most(1000);
  });

  it("leases nothing for a client with one request", () => {
    const world = new World(1);
    for (let index = 0; index < 1000; index += 1) world.request(0, charge(`k${index}`, 1000));
    expect(world.book(0).hasRequests).to.equal(false);
    expect(world.book(0).size).to.equal(0);
  });

  it("gives back an unused lease within two lifetimes, and forgets it", () => {
    const world = new World(1);
    for (let index = 0; index < 40; index += 1) {
      world.now += 1;
      world.request(0, charge("a", 1000));
      world.exchange(0, 0);
    }
    expect(world.model.consumed("a", world.now)).to.be.greaterThan(40);
    for (let index = 0; index < 2; index += 1) {
      world.now += 500;
      world.exchange(0, 0);
    }
    expect(world.model.consumed("a", world.now)).to.equal(40);
    expect(world.book(0).size).to.equal(0);
  });

  it("gives nothing back into the next window, and takes nothing of the last one into it", () => {
    const world = new World(1);
    for (let index = 0; index < 40; index += 1) {
      world.request(0, charge("a", 1000));
      world.exchange(0, 0);
    }
    world.now += windowMs;
    expect(world.request(0, charge("a", 1000))).to.equal("counted");
    world.book(0).drain();
    while (world.book(0).hasRequests) world.exchange(0, 0);
    expect(world.model.consumed("a", world.now)).to.equal(1);
  });

  it("holds nothing near the limit", () => {
    const world = new World(1);
    for (let index = 0; index < 90; index += 1) {
      world.request(0, charge("a", 100));
      world.exchange(0, 0);
    }
    world.now += 1000;
    world.exchange(0, 0);
    expect(world.model.consumed("a", world.now)).to.equal(90);
    const outcomes = Array.from({ length: 12 }, () => world.request(0, charge("a", 100)));
    expect(outcomes.filter((outcome) => outcome === "counted")).to.have.length(10);
    expect(outcomes.slice(10)).to.deep.equal(["refused", "refused"]);
  });

  it("leaves it to the store to decide under a limit lower than the one it leased under", () => {
    const world = new World(1);
    for (let index = 0; index < 50; index += 1) {
      world.request(0, charge("a", 1000));
      world.exchange(0, 0);
    }
    expect(world.request(0, charge("a", 1000))).to.equal("leased");
    expect(world.request(0, charge("a", 20))).to.equal("refused");
    expect(world.request(0, charge("a", 2000))).to.equal("leased");
  });

  it("counts points twice in the store rather than never, when an answer is lost", () => {
    const world = new World(1);
    world.request(0, charge("a", 1000));
    world.request(0, charge("a", 1000));
    world.exchange(0, undefined);
    expect(world.model.consumed("a", world.now)).to.be.greaterThan(2);
    expect(world.request(0, charge("a", 1000))).to.equal("counted");
  });
});

describe("a lease manager", () => {
  it("has no more of them than its capacity, and counts the rest exactly", () => {
    const world = new World(1, 100);
    for (let round = 0; round < 3; round += 1) {
      for (let index = 0; index < 1000; index += 1) world.request(0, charge(`k${index}`, 1000));
      world.exchange(0, 0);
    }
    expect(world.book(0).size).to.equal(100);
    world.now += 2000;
    world.exchange(0, 0);
    world.now += 2000;
    world.exchange(0, 0);
    expect(world.book(0).size).to.equal(0);
  });

  it("takes back the points that a request reserved and did not use, even if the lease has ended since", () => {
    const world = new World(1);
    for (let index = 0; index < 20; index += 1) {
      world.request(0, charge("a", 1000));
      world.exchange(0, 0);
    }
    const book = world.book(0);
    const reservation = book.reserve(charge("a", 1000)) as Reservation;
    book.drain();
    book.release(reservation);
    while (book.hasRequests) world.exchange(0, 0);
    expect(world.model.consumed("a", world.now)).to.equal(20);
  });
});
