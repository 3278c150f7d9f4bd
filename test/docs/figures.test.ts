import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { listDocuments, readDocument, root } from "./documents.js";

type Figures = Readonly<Record<string, readonly (number | null)[]>>;

interface Run {
  readonly date: string;
  readonly commit: string;
  readonly node: string;
  readonly redis: string;
  readonly machine: string;
  readonly rows: Readonly<Record<string, { readonly slices: Figures }>>;
  readonly latency?: { readonly trips: readonly number[]; readonly medians: Figures };
}

const { makeDocuments } = await load<{ makeDocuments: () => Map<string, string> }>("documents");
const { judge } = await load<{ judge: (run: Run) => Outcome[] }>("outcomes");
const { findLosses } = await load<{ findLosses: (before: Run, now: Run) => Losses }>("compare");
const { mergeRuns } = await load<{ mergeRuns: (earlier: Runs, runs: readonly Run[]) => Merged }>("results");

type Runs = Readonly<Record<string, Run>>;

interface Outcome {
  readonly text: string;
  readonly measured: number | undefined;
  readonly held: boolean | undefined;
}

interface Losses {
  readonly to: string;
  readonly rows: readonly { readonly text: string; readonly loss: number; readonly isLost: boolean }[];
}

interface Merged {
  readonly runs: Runs;
  readonly dropped: readonly string[];
}

/** A module of the benchmarks, which have no types. */
function load<T>(name: string): Promise<T> {
  return import(pathToFileURL(join(root, `bench/lib/${name}.mjs`)).href) as Promise<T>;
}

/** The times and ratios in the text between the tables that no page of results has. */
function unknownFigures(document: string): string[] {
  const prose = document.replace(/<!-- bench: [^]*?<!-- \/bench -->/g, "");
  const quoted = Array.from(prose.matchAll(/(?<![\d.])(\d+(?:\.\d+)?)(?:x\b| us\b)/g), ([, figure = ""]) => figure);
  const folder = join(root, "bench/results");
  const pages = readdirSync(folder).filter((name) => name.endsWith(".md"));
  const measured = new Set(pages.flatMap((name) => readFileSync(join(folder, name), "utf8").match(/\d+(?:\.\d+)?/g)));
  return quoted.filter((figure) => !measured.has(figure));
}

const documents = makeDocuments();
const suites = ["guard", "scale"];

describe("the figures in documents", () => {
  it("are made of results, pages and pictures too", () => {
    expect([...documents.keys()]).to.include.members([
      ...["bench/results/guard.md", "bench/results/guard.svg", "docs/performance.md"],
      ...["bench/results/scale.md", "bench/results/scale.svg", "docs/scale.md"],
    ]);
  });

  for (const [path, text] of documents) {
    it(`${path} holds what bench/results says; if not: npm run bench -- documents`, () => {
      expect(readDocument(path)).to.equal(text);
    });
  }

  it("are quoted in the text of any document only if they are in a page of bench/results", () => {
    const quoted = listDocuments().map((path) => [path, unknownFigures(readDocument(path))] as const);
    expect(quoted.filter(([, figures]) => figures.length > 0)).to.deep.equal([]);
  });

  it("would be found out if a text quoted another one", () => {
    expect(unknownFigures("It takes 123456.7 us, which is 98765.4x.\n")).to.deep.equal(["123456.7", "98765.4"]);
  });

  for (const suite of suites) {
    it(`of suite ${suite} tell the commit, the date, the machine, Redis and Node, and are of one commit and machine`, () => {
      const { runs } = JSON.parse(readFileSync(join(root, `bench/results/${suite}.json`), "utf8")) as { runs: Runs };
      const all = Object.entries(runs);
      expect(all).not.to.deep.equal([]);
      for (const [major, run] of all) {
        expect(run.commit).to.match(/^[0-9a-f]{7,}\+?$/);
        expect(run.date).to.match(/^\d{4}-\d\d-\d\d \d\d:\d\d$/);
        expect(run.node.split(".")[0]).to.equal(major);
        expect([run.machine, run.redis].every((text) => text !== "")).to.equal(true);
      }
      expect(new Set(all.map(([, { commit, machine }]) => `${commit} ${machine}`)).size).to.equal(1);
    });
  }
});

/** A run in which each row has the same figures in all rounds, unless they are given. */
function runOf(cpu: Readonly<Record<string, number | readonly (number | null)[]>>, more: Partial<Run> = {}): Run {
  const rows = Object.entries(cpu).map(([name, value]) => {
    const figures = typeof value === "number" ? [value, value, value] : value;
    const throughput = figures.map((one) => (one === null ? null : 1e6 / one));
    return [name, { slices: { cpu: figures, throughput } }] as const;
  });
  const facts = {
    date: "2026-11-29 10:00",
    commit: "abcdef123",
    node: "24.1.0",
    redis: "7.0.15",
    machine: "a machine",
  };
  return { ...facts, rows: Object.fromEntries(rows), ...more };
}

function outcomeOf(run: Run, text: string): Outcome {
  const found = judge(run).find((one) => one.text === text);
  if (found === undefined) throw new Error(`there is no outcome "${text}"`);
  return found;
}

describe("the outcomes of a run", () => {
  const text = "server CPU of a request, Koa exact, to the row by hand";

  it("are medians of the quotients of one round each, not quotients of medians", () => {
    const run = runOf({ "koa-gate-redis": [12, 40, 22], "koa-floor": [10, 20, 20] });
    expect(outcomeOf(run, text).measured).to.be.closeTo(1.2, 1e-9);
  });

  it("hold at their limit, and do not hold beyond it", () => {
    expect(outcomeOf(runOf({ "koa-gate-redis": 12, "koa-floor": 10 }), text).held).to.equal(true);
    expect(outcomeOf(runOf({ "koa-gate-redis": 12.1, "koa-floor": 10 }), text).held).to.equal(false);
  });

  it("leave out rounds that do not count", () => {
    const run = runOf({ "koa-gate-redis": [11, null, 11], "koa-floor": [10, 1, 10] });
    expect(outcomeOf(run, text).measured).to.be.closeTo(1.1, 1e-9);
  });

  it("are neither held nor missed where a row was not measured", () => {
    const { measured, held } = outcomeOf(runOf({ "koa-gate-redis": 12 }), text);
    expect({ measured, held }).to.deep.equal({ measured: undefined, held: undefined });
  });

  it("count added latency in round trips of the same round", () => {
    const medians = { koa: [1, 1], "koa-gate-redis": [3.2, 5.4] };
    const run = runOf({}, { latency: { trips: [2, 4], medians } });
    const added = outcomeOf(run, "added median latency with Redis 2 ms away, Koa exact");
    expect(added.measured).to.be.closeTo(1.1, 1e-9);
    expect(added.held).to.equal(true);
  });

  it("ask for plain listen on Express only under Node 22", () => {
    const asked = (node: string): string[] => judge(runOf({}, { node })).map((one) => one.text);
    const listen = "throughput, Express exact by plain `listen`, to Express alone";
    expect(asked("22.23.3")).to.include(listen);
    expect(asked("24.1.0")).not.to.include(listen);
  });
});

describe("the comparison with committed figures", () => {
  const floors = { "koa-floor": 10, "koa-floor-leased": 10, "express-floor": 20, "express-floor-leased": 20 };
  const gates = { "koa-gate-redis": 12, "koa-gate-leased": 12, "express-gate-redis": 24, "express-gate-leased": 24 };
  const bare = { koa: 8, express: 16 };
  const before = runOf({ ...floors, ...gates, ...bare });

  function lostIn(now: Run): string[] {
    return findLosses(before, now)
      .rows.filter(({ isLost }) => isLost)
      .map(({ text }) => text);
  }

  it("finds nothing in a run on a machine that is twice as slow for all rows", () => {
    const slow = Object.entries({ ...floors, ...gates, ...bare }).map(([name, cpu]) => [name, 2 * cpu]);
    expect(lostIn(runOf(Object.fromEntries(slow) as Record<string, number>))).to.deep.equal([]);
  });

  it("tolerates a loss of fifteen hundredths, and finds a greater one in CPU and in throughput", () => {
    expect(lostIn(runOf({ ...floors, ...gates, ...bare, "koa-gate-leased": 12 * 1.149 }))).to.deep.equal([]);
    expect(lostIn(runOf({ ...floors, ...gates, ...bare, "koa-gate-leased": 12 * 1.16 }))).to.deep.equal([
      "server CPU of a request, koa-gate-leased to koa-floor-leased",
      "throughput, koa-gate-leased to koa-floor-leased",
    ]);
  });

  it("takes a gain for no loss", () => {
    expect(lostIn(runOf({ ...floors, ...gates, ...bare, "express-gate-redis": 12 }))).to.deep.equal([]);
  });

  it("compares with the bare frameworks where the rows by hand are missing", () => {
    const now = runOf({ ...gates, ...bare, "koa-gate-redis": 15 });
    expect(findLosses(before, now).to).to.equal("bare");
    expect(lostIn(now)).to.deep.equal([
      "server CPU of a request, koa-gate-redis to koa",
      "throughput, koa-gate-redis to koa",
    ]);
  });

  it("fails if a figure is missing, since silence would pass for success", () => {
    const now = runOf({ ...floors, ...gates, ...bare, "koa-gate-redis": [null, null, null] });
    expect(() => findLosses(before, now)).to.throw(/no server CPU of a request, koa-gate-redis/);
  });
});

describe("kept runs", () => {
  const of = (node: string, commit: string): Run => runOf({}, { node, commit });

  it("of other Nodes stay beside a new one of the same commit", () => {
    const { runs, dropped } = mergeRuns({ 22: of("22.1.0", "aaaaaaa"), 24: of("24.1.0", "aaaaaaa") }, [
      of("24.2.0", "aaaaaaa"),
    ]);
    expect(Object.values(runs).map(({ node }) => node)).to.deep.equal(["22.1.0", "24.2.0"]);
    expect(dropped).to.deep.equal([]);
  });

  it("of another commit go, so that no page mixes two", () => {
    const { runs, dropped } = mergeRuns({ 22: of("22.1.0", "aaaaaaa") }, [of("24.2.0", "bbbbbbb")]);
    expect(Object.keys(runs)).to.deep.equal(["24"]);
    expect(dropped).to.deep.equal(["22"]);
  });
});
