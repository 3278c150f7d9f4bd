// Everything that is made of results/*.json: pages, pictures, and the tables between markers of documents.
import { readFileSync, writeFileSync } from "node:fs";
import { bars } from "./chart.mjs";
import { fixed, table } from "./format.mjs";
import { pageOf } from "./guard-page.mjs";
import { compare, judge, tableOfOutcomes } from "./outcomes.mjs";
import { readRuns } from "./results.mjs";
import { dimensions, pageOfScale, pictureOfScale, tableOf, tableOfMillion } from "./scale-page.mjs";
import { median } from "./statistics.mjs";

const root = new URL("../../", import.meta.url);
/** The Node that the outcomes are asked of. */
const mainNode = "24";

/**
 * What the files made of the results should hold.
 *
 * @returns {Map<string, string>} By their paths from the root.
 */
export function makeDocuments() {
  const guard = readRuns("guard");
  const scale = newest(readRuns("scale"));
  const documents = new Map();
  const main = guard[mainNode] ?? newest(guard);
  if (main !== undefined) {
    documents.set("bench/results/guard.md", `${Object.values(guard).map(onePage).join("\n\n")}\n`);
    documents.set("bench/results/guard.svg", pictureOfGuard(main));
    documents.set("docs/performance.md", filled("docs/performance.md", tablesOfGuard(guard, main)));
  }
  if (scale !== undefined) {
    documents.set("bench/results/scale.md", `## scale\n\n${pageOfScale(scale)}\n`);
    documents.set("bench/results/scale.svg", pictureOfScale(scale));
    documents.set("docs/scale.md", filled("docs/scale.md", tablesOfScale(scale)));
  }
  return documents;
}

/** Writes them, and tells which they are. */
export function fillDocuments() {
  const documents = makeDocuments();
  for (const [path, text] of documents) writeFileSync(new URL(path, root), text);
  return `Written: ${[...documents.keys()].join(", ")}`;
}

function newest(runs) {
  return Object.entries(runs).sort(([a], [b]) => Number(b) - Number(a))[0]?.[1];
}

function onePage(run) {
  return `## guard on Node ${run.node}\n\n${pageOf(run)}`;
}

/** The document with its tables replaced: what stands between `<!-- bench: name -->` and `<!-- /bench -->`. */
function filled(path, tables) {
  return readFileSync(new URL(path, root), "utf8").replace(
    /(<!-- bench: ([\w-]+) -->\n)[^]*?(<!-- \/bench -->)/g,
    (_, begin, name, end) => {
      if (!(name in tables)) throw new Error(`${path}: there is no table "${name}"`);
      return `${begin}\n${tables[name]}\n\n${end}`;
    },
  );
}

function describeRuns(runs) {
  const [first] = runs;
  const nodes = runs.map(({ node }) => node).join(", ");
  return [
    `Measured ${first.date} UTC on commit ${first.commit ?? "unknown"}, ${first.how}: Node ${nodes}; Redis ${first.redis};`,
    `load by ${first.load}; ${first.machine}; ${first.pinned}.`,
  ].join(" ");
}

function tablesOfGuard(runs, main) {
  const all = Object.values(runs);
  const others = all.filter((run) => run !== main);
  const own = judge(main);
  // What is asked of one Node alone is nowhere in the table of the main one.
  const only = others.flatMap((run) =>
    judge(run)
      .filter(({ text }) => !own.some((one) => one.text === text) && /`listen`/.test(text))
      .map((one) => ({ ...one, text: `Node ${run.node.split(".")[0]}: ${one.text}` })),
  );
  return {
    run: describeRuns(all),
    outcomes: table(["", "asked", "measured", "held"], tableOfOutcomes([...own, ...only])),
    costs: table(
      ["", "requests/s", "server CPU us", "Redis CPU us"],
      Object.values(main.rows)
        .filter(({ redis, bare, name }) => redis || name === bare)
        .map((row) => [
          `${nameOf(row)}`,
          fixed(middle(row, "throughput"), 0),
          fixed(middle(row, "cpu"), 1),
          row.redis ? fixed(middle(row, "redisCpu"), 2) : "",
        ]),
    ),
    nodes: tableOfNodes(all),
  };
}

/** CPU of a request to the bare framework under each Node. */
function tableOfNodes(runs) {
  const rows = Object.values(runs[0].rows).filter(({ name, bare }) => name !== bare);
  return table(
    ["server CPU of a request, to the bare framework", ...runs.map(({ node }) => `Node ${node.split(".")[0]}`)],
    rows.map((row) => [
      nameOf(row),
      ...runs.map((run) => {
        const value = row.name in run.rows ? compare(run, row.name, row.bare, "cpu") : Number.NaN;
        return Number.isFinite(value) ? `${fixed(value, 2)}x` : "-";
      }),
    ]),
  );
}

function tablesOfScale(run) {
  return {
    run: describeRuns([run]),
    ...Object.fromEntries(dimensions.map(({ name }) => [name, tableOf(run, name)])),
    million: tableOfMillion(run),
  };
}

const order = ["", "-floor", "-gate-redis", "-served-redis", "-floor-leased", "-gate-leased", "-served-leased"];
const frameworks = { koa: "Koa", express: "Express", fastify: "Fastify" };

function nameOf({ name, bare, title }) {
  return name === bare ? title : `${frameworks[bare]}: ${title}`;
}

function pictureOfGuard(run) {
  const groups = Object.entries(frameworks).map(([bare, title]) => {
    const rows = Object.values(run.rows).filter((row) => row.bare === bare && (row.redis || row.name === bare));
    const sorted = rows
      .filter((row) => Number.isFinite(middle(row, "cpu")))
      .sort((a, b) => placeOf(a, bare) - placeOf(b, bare));
    return {
      title,
      bars: sorted.map((row) => ({
        title: row.title.replace(/^(Express|Koa|Fastify) /, ""),
        value: middle(row, "cpu"),
        label: `${fixed(middle(row, "cpu"), 1)} us, ${fixed(middle(row, "throughput") / 1000, 1)} k/s`,
        kind: row.name === bare ? 0 : row.name.includes("floor") ? 1 : row.title.startsWith("Portcullis") ? 2 : 3,
      })),
    };
  });
  return bars({
    title: "CPU of the server for one request",
    note: `us, and requests a second of one core; Node ${run.node}, commit ${run.commit ?? "unknown"}, ${run.date.slice(0, 10)}`,
    groups: groups.filter((group) => group.bars.length > 0),
  });
}

/** Libraries are in none of the places, and come last. */
function placeOf({ name }, bare) {
  const place = order.indexOf(name.slice(bare.length));
  return place === -1 ? order.length : place;
}

function middle(row, member) {
  return median((row.slices[member] ?? []).map((value) => value ?? Number.NaN));
}
