// npm run next-version: takes the changesets together to the next version of all packages, and puts their sentences into
// CHANGELOG.md. The workflow for releases runs it.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ROOT } from "./child.mjs";
import { run } from "./npm.mjs";

const HEADINGS = { major: "Changed", minor: "Added", patch: "Fixed" };
const UNRELEASED = "## [Unreleased]\n";
const CLI = join(ROOT, "node_modules", "@changesets", "cli", "bin.js");

/** A test has a copy of the repository. */
const root = resolve(process.argv[2] ?? ROOT);
const changesets = readChangesets();
if (changesets.length === 0) throw new Error("there is no changeset in .changeset/, so there is no next version");
await run(process.execPath, [CLI, "version"], { cwd: root });
const { version } = readJson("packages/core/package.json");
writeChangelog(version);
writeVersions(version);
console.log(version);

function readJson(file) {
  return JSON.parse(readFileSync(join(root, file), "utf8"));
}

function writeJson(file, value) {
  writeFileSync(join(root, file), `${JSON.stringify(value, undefined, 2)}\n`);
}

/** The root has the same version, and the lockfile says what the workspaces say. Nothing else changes in it. */
function writeVersions(version) {
  writeJson("package.json", { ...readJson("package.json"), version });
  const lockfile = readJson("package-lock.json");
  lockfile.version = version;
  for (const [path, entry] of Object.entries(lockfile.packages)) {
    if (path.includes("node_modules")) continue;
    const { dependencies, version: given } = readJson(join(path, "package.json"));
    entry.version = given;
    if (dependencies !== undefined) entry.dependencies = dependencies;
  }
  writeJson("package-lock.json", lockfile);
}

function readChangesets() {
  const folder = join(root, ".changeset");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".md") && name !== "README.md")
    .sort()
    .map((name) => {
      const text = readFileSync(join(folder, name), "utf8");
      const [, kinds, sentence] = /^---\n([^]*?)^---\n([^]*)$/m.exec(text) ?? [];
      if (kinds === undefined)
        throw new Error(`.changeset/${name} does not begin with packages between two lines "---"`);
      const kind = Object.keys(HEADINGS).find((one) => new RegExp(`: ${one}$`, "m").test(kinds));
      return { kind, sentence: sentence.trim().replace(/\s*\n\s*/g, " ") };
    });
}

/** What stands under "Unreleased" goes to the version too, before the sentences of the changesets. */
function writeChangelog(version) {
  const file = join(root, "CHANGELOG.md");
  const [before, rest] = readFileSync(file, "utf8").split(UNRELEASED);
  if (rest === undefined) throw new Error(`CHANGELOG.md has no line "${UNRELEASED.trim()}"`);
  const end = /^## \[/m.exec(rest)?.index ?? rest.length;
  const sections = Object.entries(HEADINGS).flatMap(([kind, heading]) => {
    const lines = changesets.filter((one) => one.kind === kind && one.sentence !== "");
    return lines.length === 0 ? [] : [`### ${heading}\n\n${lines.map(({ sentence }) => `- ${sentence}`).join("\n")}\n`];
  });
  const today = new Date().toISOString().slice(0, 10);
  const parts = [`## [${version}] - ${today}\n`, rest.slice(0, end).trim(), ...sections].filter((part) => part !== "");
  const section = parts.map((part) => part.trim()).join("\n\n");
  writeFileSync(file, `${before}${UNRELEASED}\n${section}\n\n${rest.slice(end)}`);
}
