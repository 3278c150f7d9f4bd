// Repository checks: what a reviewer would otherwise have to remember. Prints every violation; exits 1 if there is one.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file !== "" && existsSync(join(root, file)));
const read = (file) => readFileSync(join(root, file), "utf8");
const violations = [];

/** What a file imports: specifiers, as they are written. */
function importsOf(file) {
  return [...read(file).matchAll(/^(?:import|export)\s+(?:type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm)].map(
    ([, specifier]) => specifier,
  );
}

const sources = tracked.filter((file) => /^packages\/[^/]+\/src\/.*\.ts$/.test(file));
const core = sources.filter((file) => file.startsWith("packages/core/src/"));
const inCore = (file) => file.slice("packages/core/src/".length);

/** Resolves a relative import of a core file to a core file. */
function target(file, specifier) {
  return specifier.startsWith(".") ? normalize(join(dirname(file), specifier)).replace(/\.js$/, ".ts") : undefined;
}

// 1. Who may import which package.
const owners = [
  { module: "rate-limiter-flexible", only: /^limits\/verdict\.ts$/ },
  { module: "@opentelemetry/api", only: /^opentelemetry\.ts$/ },
  { module: "ioredis", only: /^store\/redis\// },
  { module: "jose", only: /^(auth\/|sessions\/refresh-token\.ts$|testing\.ts$)/ },
];
for (const file of core) {
  for (const specifier of importsOf(file)) {
    const name = inCore(file);
    if (/^(express|koa|socket\.io|@socket\.io\/|@portcullis\/)/.test(specifier))
      violations.push(`${file} knows ${specifier}; core knows no framework`);
    const owner = owners.find(({ module }) => module === specifier);
    if (owner !== undefined && !owner.only.test(name))
      violations.push(`${file} imports ${specifier}, which belongs to ${owner.only}`);
  }
}

// The folders of core, and which others each may use: the table of docs/ARCHITECTURE.md, which is tested by that.
const everywhere = ["lib", "telemetry"];
const arrows = new Map(
  [...read("docs/ARCHITECTURE.md").matchAll(/^\| `([a-z/-]+)` \| [^|]+ \| ([^|]+) \|$/gm)].map(([, folder, others]) => [
    folder,
    others.trim() === "every folder" ? undefined : [...others.matchAll(/`([^`]+)`/g)].map(([, other]) => other),
  ]),
);
function folderOf(name) {
  if (!name.includes("/")) return "gate";
  const folder = dirname(name);
  return arrows.has(folder) ? folder : dirname(folder);
}
for (const file of core) {
  const name = inCore(file);
  const from = folderOf(name);
  if (!arrows.has(from)) violations.push(`${file} is in a folder that docs/ARCHITECTURE.md does not name`);
  const allowed = arrows.get(from);
  if (allowed === undefined) continue;
  for (const specifier of importsOf(file)) {
    const imported = target(file, specifier);
    if (imported === undefined) continue;
    const to = folderOf(inCore(imported));
    const isOptions = to === "gate" && inCore(imported) === "options.ts";
    if (to !== from && !everywhere.includes(to) && !(allowed.includes(to) && (to !== "gate" || isOptions)))
      violations.push(`${file} imports ${inCore(imported)}; ${from} may not use ${to}`);
  }
}
for (const folder of arrows.keys())
  if (!core.some((file) => folderOf(inCore(file)) === folder)) violations.push(`there is no folder ${folder} in core`);

// 2. No cycles among imports, those of types included.
const edges = new Map(
  core.map((file) => [
    file,
    importsOf(file)
      .map((specifier) => target(file, specifier))
      .filter((to) => to !== undefined),
  ]),
);
const done = new Set();
function visit(file, path) {
  if (path.includes(file))
    return violations.push(`import cycle: ${[...path.slice(path.indexOf(file)), file].map(inCore).join(" -> ")}`);
  if (done.has(file)) return;
  for (const to of edges.get(file) ?? []) visit(to, [...path, file]);
  done.add(file);
}
for (const file of core) visit(file, []);

// 3. The adapters offer the same, and hold no decisions.
const adapters = { express: "Express", koa: "Koa" };
const surfaces = Object.entries(adapters).map(([folder, name]) =>
  ["index.ts", "unaugmented.ts"]
    .flatMap((file) => importlessLines(`packages/${folder}/src/${file}`))
    .filter((line) => line.startsWith("export"))
    .join("\n")
    .replaceAll(name, "Framework"),
);
if (surfaces[0] !== surfaces[1]) violations.push("packages/express and packages/koa export different names");
for (const folder of Object.keys(adapters)) {
  const files = sources.filter((file) => file.startsWith(`packages/${folder}/src/`));
  const lines = files.reduce((sum, file) => sum + read(file).split("\n").length - 1, 0);
  console.log(`packages/${folder}/src: ${lines} lines`);
  if (lines > 180) violations.push(`packages/${folder}/src has ${lines} lines; an adapter only translates`);
  for (const file of files) {
    if (/\b[45]\d\d\b|WWW-Authenticate|Retry-After|RateLimit/.test(read(file).replace(/\/\*[^]*?\*\//g, ""))) {
      violations.push(`${file} holds a status code or a header name; those live in core`);
    }
  }
}

function importlessLines(file) {
  return read(file)
    .split("\n")
    .filter((line) => !line.startsWith("import "));
}

// 4. Files that outgrew their concept.
for (const file of sources) {
  const lines = read(file).split("\n").length - 1;
  if (lines > 400) violations.push(`${file} has ${lines} lines; 400 is where a file holds two concepts`);
}

// 5. Lockfiles name no registry host, so that `npm ci` works behind any mirror.
for (const file of tracked.filter((name) => name.endsWith("package-lock.json"))) {
  if (/"resolved":\s*"https?:/.test(read(file))) violations.push(`${file} names a registry host; see .npmrc`);
}

// 6. Source is ASCII: what looks like one letter is one letter.
for (const file of tracked.filter((name) => /\.(ts|mjs|js|json)$/.test(name) && !name.endsWith("package-lock.json"))) {
  const line = read(file)
    .split("\n")
    .findIndex((text) => /[^\x09\x20-\x7e]/.test(text));
  if (line !== -1) violations.push(`${file}:${line + 1} has a character outside ASCII`);
}

for (const violation of violations) console.error(violation);
console.log(`${relative(process.cwd(), root) || "."}: ${sources.length} source files, ${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
