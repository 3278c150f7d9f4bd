import { expect } from "chai";
import fc from "fast-check";
import { openRenewals } from "../../../packages/core/src/cache/generations.js";
import type { LookupResult } from "../../../packages/core/src/response-cache/response-store.js";
import { ResponseStore } from "../../../packages/core/src/response-cache/response-store.js";
import { tagNamed, tagOfPath, tagOfTarget } from "../../../packages/core/src/response-cache/tags.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";
import { isSoak } from "../../support/soak.js";
import { until } from "../../support/until.js";
import { cacheKeys, FakeCacheStore } from "../../cache/support/cache-process.js";
import { storedResponse } from "../support/freshness.js";

/** The response caches of several processes on one store, with one clock. */
function openProcesses(count: number): {
  readonly store: FakeCacheStore;
  readonly processes: readonly ResponseStore[];
} {
  const store = new FakeCacheStore();
  const common = { telemetry: new Telemetry(), logger: silentLogger };
  const processes = Array.from({ length: count }, () => {
    const renewals = openRenewals({ store, ...common });
    const monotonic = (): number => store.clock.ms;
    return new ResponseStore({ store, keys: cacheKeys, onFault: () => undefined, renewals, monotonic });
  });
  return { store, processes };
}

const tags = ["a", "b", "c"].map(tagNamed);

function lookup(url: number) {
  const primary = `url-${url}`;
  return {
    primary,
    variant: (vary: readonly string[]) => (vary.length === 0 ? primary : `${primary}-variant`),
    tags: url === 0 ? tags.slice(0, 2) : tags.slice(1),
  };
}

function keyOf(tag: string): string {
  return cacheKeys.cacheGeneration(`t:${tag.slice("tag ".length)}`);
}

/** A handler at work, or one that was. */
interface Making {
  readonly moment: number;
  readonly url: number;
  readonly process: number;
  readonly start: LookupResult;
  /** A purge by another process was lost that the store held alone, so that the one at work cannot know of it any more. */
  excused: boolean;
  readonly purgedElsewhere: Set<string>;
}

interface Step {
  readonly do: "begin" | "end" | "purge" | "lose" | "wait";
  /** Of a URL, or of a tag. */
  readonly which: number;
  readonly process: number;
  readonly vary: boolean;
  readonly ms: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom("begin", "end", "end", "purge", "lose", "wait"),
  which: fc.nat({ max: 2 }),
  process: fc.nat({ max: 1 }),
  vary: fc.boolean(),
  ms: fc.constantFrom(1, 1000, 30_000, 58_000, 61_000),
});

describe("a purge", () => {
  it("ends all that was begun before it, whatever is lost, expires, or is stored meanwhile", async function () {
    this.timeout(60_000);
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 120 }), async (steps, seconds) => {
        const { store, processes } = openProcesses(2);
        const underWay: Making[] = [];
        const makings = new Map<string, Making>();
        /** The last purge of each tag. */
        const purgedAt = new Map<string, number>();

        async function check(url: number, responses: ResponseStore): Promise<void> {
          const { response } = await responses.find(lookup(url));
          const making = makings.get(Buffer.from(response?.body ?? "").toString());
          if (making === undefined || making.excused) return;
          for (const tag of lookup(url).tags)
            expect(making.moment, `${tag} was purged later`).to.be.greaterThan(purgedAt.get(tag) ?? -1);
        }

        for (const [moment, { do: what, which, process, vary, ms }] of steps.entries()) {
          const responses = processes[process] as ResponseStore;
          const tag = tags[which] ?? "";
          if (what === "wait") store.clock.ms += ms;
          if (what === "purge") {
            await responses.purge(tag);
            purgedAt.set(tag, moment);
            for (const making of underWay) if (making.process !== process) making.purgedElsewhere.add(tag);
          }
          if (what === "lose") {
            await store.deleteMany([keyOf(tag)]);
            for (const making of underWay) {
              const isNew = new Map(making.start.generations).get(tag) === "";
              if (isNew && making.purgedElsewhere.has(tag)) making.excused = true;
            }
          }
          if (what === "begin") {
            const url = which % 2;
            const start = await responses.find(lookup(url));
            const making = { moment, url, process, start, excused: false, purgedElsewhere: new Set<string>() };
            makings.set(String(moment), making);
            underWay.push(making);
          }
          const ended = what === "end" ? underWay.shift() : undefined;
          if (ended !== undefined) {
            const { url, start } = ended;
            const worker = processes[ended.process] as ResponseStore;
            const body = Buffer.from(String(ended.moment));
            const made = { ...storedResponse, body, storeMs: store.clock.ms, vary: vary ? ["accept"] : [] };
            await worker.keep(lookup(url), { ...made, generations: start.generations }, seconds, start);
          }
          for (const one of processes) for (const url of [0, 1]) await check(url, one);
        }
      }),
      { numRuns: isSoak ? 150 : 60 },
    );
  });

  it("is not undone by a handler that ran longer than the store remembers it, nor by one that shares its response", async () => {
    const { store, processes } = openProcesses(1);
    const [responses] = processes as [ResponseStore];
    const [start, soon] = [await responses.find(lookup(0)), await responses.find(lookup(0))];
    await responses.purge(tagNamed("a"));
    store.clock.ms += 60_001;
    const found = await responses.find(lookup(0));
    expect(found.generations).to.deep.equal(start.generations);
    const made = { ...storedResponse, generations: start.generations, vary: [] };
    expect([responses.isCurrentFor(made, start, soon), responses.isCurrentFor(made, start, found)]).to.deep.equal([
      true,
      false,
    ]);
    await responses.keep(lookup(0), made, 3600, start);
    expect((await responses.find(lookup(0))).response).to.equal(undefined);
    // One that began since then is stored.
    await responses.keep(lookup(0), made, 3600, found);
    expect((await responses.find(lookup(0))).response?.status).to.equal(200);
  });

  it("is remembered by its process, whether the store loses it, or is away before it or after it", async () => {
    const { store, processes } = openProcesses(1);
    const [responses] = processes as [ResponseStore];
    for (const wasAway of [false, true]) {
      if (wasAway) store.goDown();
      const [start, meanwhile] = [await responses.find(lookup(0)), await responses.find(lookup(0))];
      store.comeBack();
      const made = { ...storedResponse, generations: start.generations, vary: [] };
      await responses.purge(tagNamed("a"));
      store.goDown();
      const found = await responses.find(lookup(0));
      store.comeBack();
      expect([meanwhile, found].map((one) => responses.isCurrentFor(made, start, one))).to.deep.equal([true, false]);
      expect([responses.isPurged(start), responses.isPurged(found)]).to.deep.equal([true, false]);
      await store.deleteMany(tags.map(keyOf));
      await responses.keep(lookup(0), made, 60, start);
      expect((await responses.find(lookup(0))).response).to.equal(undefined);
    }
  });

  it("is made again when a store returns that may have lost it, and before that is as good as missed", async () => {
    const { store, processes } = openProcesses(2);
    const [one, other] = processes as [ResponseStore, ResponseStore];
    const start = await one.find(lookup(0));
    await one.keep(lookup(0), { ...storedResponse, generations: start.generations, vary: [] }, 60, start);
    const generation = (await store.getMany([keyOf("tag a")]))[0];
    const isFound = async (responses: ResponseStore) => (await responses.find(lookup(0))).response !== undefined;
    expect([await isFound(one), await isFound(other)]).to.deep.equal([true, true]);
    await one.purge(tagNamed("a"));
    for (let round = 0; round < 2; round += 1) {
      store.goDown();
      await store.returnWith(keyOf("tag a"), generation);
      // Its own process asks only when the store has the purge again.
      expect(await isFound(one)).to.equal(false);
      expect(await isFound(other)).to.equal(false);
    }
    // Nobody asks the process that purged.
    await store.returnWith(keyOf("tag a"), generation);
    await until(async () => !(await isFound(other)));
  });

  it("keeps from the store nothing with other tags, as long as its process remembers it", async () => {
    const { processes } = openProcesses(1);
    const [responses] = processes as [ResponseStore];
    for (const [count, isKept] of [
      [5000, true],
      [10_500, false],
    ] as const) {
      const start = await responses.find(lookup(0));
      for (let purge = 0; purge < count; purge += 1) await responses.purge(tagNamed(`other ${purge}`));
      await responses.keep(lookup(0), { ...storedResponse, generations: start.generations, vary: [] }, 60, start);
      expect((await responses.find(lookup(0))).response !== undefined, `after ${count} purges`).to.equal(isKept);
      await responses.purge(tagNamed("a"));
    }
  });

  it("does not prevent storing a response after others with its tags, as long as no tag is purged", async () => {
    const { processes } = openProcesses(2);
    const starts = await Promise.all(
      Array.from({ length: 20 }, async (_, index) =>
        processes[index % 2]?.find({ ...lookup(0), primary: `p${index}` }),
      ),
    );
    for (const [index, start] of starts.entries()) {
      const own = { ...lookup(0), primary: `p${index}`, variant: () => `p${index}` };
      if (start === undefined) throw new Error("there is no process");
      const made = { ...storedResponse, generations: start.generations, vary: [] };
      await processes[index % 2]?.keep(own, made, 60, start);
      expect((await processes[0]?.find(own))?.response?.status).to.equal(200);
    }
  });

  it("is remembered for a short time without stored responses, and as long as the longest of them otherwise", async () => {
    const { store, processes } = openProcesses(1);
    const [responses] = processes as [ResponseStore];
    const isThere = async (tag: string) => (await store.getMany([keyOf(tag)]))[0] !== undefined;
    await responses.purge(tagNamed("a"));
    store.clock.ms += 59_000;
    expect(await isThere(tagNamed("a"))).to.equal(true);
    store.clock.ms += 2000;
    expect(await isThere(tagNamed("a"))).to.equal(false);
    const start = await responses.find(lookup(0));
    await responses.keep(lookup(0), { ...storedResponse, generations: start.generations }, 600, start);
    await responses.purge(tagNamed("a"));
    store.clock.ms += 599_000;
    expect([await isThere(tagNamed("a")), await isThere(tagNamed("b"))]).to.deep.equal([true, true]);
    store.clock.ms += 2000;
    expect([await isThere(tagNamed("a")), await isThere(tagNamed("b"))]).to.deep.equal([false, false]);
  });
});

describe("the tags of an address", () => {
  it("are one for all spellings by which routers and file servers find the same", () => {
    const spellings = [
      ...["/posts/7", "/POSTS/7", "/posts/7/", "/Posts/%37", "/%70osts/7", "//posts//7", "/posts/./7", "/posts/x/../7"],
      ...["http://host/posts/7", "/posts\\7", "/posts/7#part", "/posts/\uff17", "/posts%2f7"],
    ];
    expect(new Set(spellings.map(tagOfPath))).to.deep.equal(new Set([tagOfPath("/posts/7")]));
    expect(new Set(spellings.map(tagOfTarget))).to.deep.equal(new Set([tagOfTarget("/posts/7")]));
    for (const other of ["/posts/70", "/posts", "/", "/posts/7/8", "/post/s7", "/%ff", "/posts/%"])
      expect(tagOfPath(other)).not.to.equal(tagOfPath("/posts/7"));
    expect(tagOfPath("/posts/7?page=2&x=/")).to.equal(tagOfPath("/posts/7"));
    // A router that cannot decode an escape takes it as it is, and the others decoded.
    for (const same of [
      ["/%ffa", "/%FFA", "/%ff%61", "/%ff%41/"],
      ["/%c3(x", "/%C3%28x", "/%c3%28%78"],
      ["/100%", "/100%25"],
      ["/caf%c3%a9", "/CAF%C3%89", "/caf%65%cc%81", "/caf\u00e9"],
    ])
      expect(new Set(same.map(tagOfPath)), same.join(" ")).to.deep.equal(new Set([tagOfPath(same[0] ?? "")]));
  });

  it("are made in a time that grows with the length of the target alone, whatever escapes a client sends", () => {
    for (const part of ["/%ff", "%ff&", "%ff%", "%c3=", "%f0%9f/", "/..", "%2e%2e/", "%", "%cc%81", "+", "=&"]) {
      for (const begin of ["/", "/?"]) {
        const target = begin + part.repeat(Math.ceil(131_072 / part.length));
        const begun = performance.now();
        tagOfPath(target);
        tagOfTarget(target);
        // Some 20 ms; an exception for each escape took 1500.
        expect(performance.now() - begun, begin + part).to.be.below(500);
      }
    }
  });

  it("are made in a time that grows with the length alone of any letters, also of marks in any order", () => {
    for (const part of ["%cc%81%cc%96", "%ef%be%9e%cc%96", "e%cc%81", "%ef%b7%ba"]) {
      const path = `/${part.repeat(Math.ceil(524_288 / part.length))}`;
      const begun = performance.now();
      tagOfPath(path);
      // Some 30 ms; the square of the number of marks took 2 s.
      expect(performance.now() - begun, part).to.be.below(700);
    }
    const marks = "%cc%81%cc%96".repeat(10);
    expect(tagOfPath(`/E${marks}`)).to.equal(tagOfPath(`/%c3%a9${"%cc%96%cc%81".repeat(10)}`.replace("%cc%81", "")));
  });

  it("of a query are one for any order and spelling of its parameters, and another for other ones", () => {
    const same = ["/l?a=1&b=2", "/l?b=2&a=1", "/L/?a=%31&b=2", "/l?&a=1&&b=2&"];
    for (const spellings of [
      same,
      ["/l?s=a+b", "/l?s=a%20b", "/l?s=a b"],
      ["/l?flag", "/l?flag=", "/l?%66lag"],
      ["/l?s=%ff%41", "/l?s=%FFA"],
      ["/l?s=%2b", "/l?s=%2B"],
      ["/l", "/l?", "/l?&"],
    ])
      expect(new Set(spellings.map(tagOfTarget)).size, spellings.join(" ")).to.equal(1);
    expect(tagOfTarget("/l?s=a+b")).not.to.equal(tagOfTarget("/l?s=a%2bb"));
    const others = ["/l", "/l?a=1", "/l?a=1&b=3", "/l?a=1&b=2&c=3", "/l?A=1&b=2"];
    expect(new Set([...others, "/l?a=1&b=2"].map(tagOfTarget)).size).to.equal(others.length + 1);
  });
});
