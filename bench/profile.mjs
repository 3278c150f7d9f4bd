// Suite "profile": where a server under load spends its time, by V8's sampling profiler.
import { mkdirSync, writeFileSync } from "node:fs";
import { openField } from "./lib/field.mjs";
import { fixed, table } from "./lib/format.mjs";
import { findNode } from "./lib/nodes.mjs";
import { ask, endAll } from "./lib/processes.mjs";
import { selectTargets } from "./lib/targets.mjs";

const folder = new URL("./results/profiles/", import.meta.url);
const root = new URL("../", import.meta.url).href;
const gates = ["express", "koa"].flatMap((name) => ["", "-redis", "-leased"].map((kind) => `${name}-gate${kind}`));
const shown = 30;
const answerMs = 20_000;

/** @returns {Promise<string>} Markdown. The profiles stay in results/profiles, for Chrome's DevTools. */
export async function runProfile({ seconds, targets: names, nodes: [wantedNode], redis, note }) {
  mkdirSync(folder, { recursive: true });
  const wanted = names.length === 0 ? gates : names;
  const targets = selectTargets(wanted).filter(({ name }) => wanted.includes(name));
  const { path, version } = await findNode(wantedNode);
  const { stands, fire } = await openField({ targets, redis, node: path });
  const parts = [`The servers run under Node ${version}.`];
  for (const { target, server, port } of stands) {
    note(`profile: ${target.name}`);
    await fire(port, 2);
    await ask(server, "profile", "profiling", answerMs);
    const { served } = await fire(port, seconds);
    const profile = await ask(server, "profiled", "profile", answerMs);
    writeFileSync(new URL(`${target.name}.cpuprofile`, folder), JSON.stringify(profile));
    parts.push(describe(target.name, summarise(profile), served));
  }
  await endAll();
  return parts.join("\n\n");
}

/** Self time by function. Idle time is left out. */
function summarise({ nodes, samples, timeDeltas }) {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const functions = new Map();
  samples.forEach((id, index) => {
    const { functionName, url, lineNumber } = frames.get(id);
    if (functionName === "(idle)") return;
    const { part, file } = nameSource(url);
    const line = lineNumber < 0 ? "" : `:${lineNumber + 1}`;
    const name = `${functionName || "(anonymous)"} ${file}${line}`;
    const entry = functions.get(part + name) ?? { part, name, us: 0 };
    entry.us += timeDeltas[index];
    functions.set(part + name, entry);
  });
  return [...functions.values()].sort((a, b) => b.us - a.us);
}

/** The package that a script belongs to, and the file in it. */
function nameSource(url) {
  if (url === "") return { part: "V8", file: "" };
  if (url.startsWith("node:")) return { part: "Node", file: url };
  const installed = url.lastIndexOf("/node_modules/");
  const path = installed === -1 ? url.replace(root, "") : url.slice(installed + "/node_modules/".length);
  const [part] = /^(@[^/]+\/[^/]+|packages\/[^/]+|[^/]+)/.exec(path);
  return { part, file: path.slice(part.length + 1) };
}

function describe(name, functions, requests) {
  const total = functions.reduce((sum, { us }) => sum + us, 0);
  const share = (us) => [`${fixed((100 * us) / total, 1)} %`, fixed(us / requests, 2)];
  const parts = new Map();
  for (const { part, us } of functions) parts.set(part, (parts.get(part) ?? 0) + us);
  const byPart = [...parts].sort(([, a], [, b]) => b - a).slice(0, 12);
  const others = functions.filter(({ part }) => part !== "Node" && part !== "V8").slice(0, shown);
  const native = functions.filter(({ part }) => part === "Node" || part === "V8").slice(0, shown / 2);
  const head = ["self time", "share", "us a request"];
  return [
    `### ${name}`,
    table(
      ["part", ...head.slice(1)],
      byPart.map(([part, us]) => [part, ...share(us)]),
    ),
    table(
      head,
      others.map(({ part, name: text, us }) => [`${part}: ${text}`, ...share(us)]),
    ),
    table(
      ["self time in Node and V8", ...head.slice(1)],
      native.map(({ name: text, us }) => [text, ...share(us)]),
    ),
  ].join("\n\n");
}
