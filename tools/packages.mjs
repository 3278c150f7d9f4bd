// Packs the packages, and uses the tarballs as strangers do, in a temporary directory outside the repository.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ROOT } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";
import { run, runNpm } from "./npm.mjs";
import { PUBLISHED, packAll } from "./pack.mjs";
import { report } from "./report.mjs";
import { shippedDocuments } from "./ship-documents.mjs";
import { temporaryDirectory } from "./temporary.mjs";
import { publishAll } from "./publish.mjs";
import { checkSizes } from "./sizes.mjs";

const CONSUMERS = {
  "Express 5": { adapter: "express", packages: { express: "^5.0.0", "@types/express": "^5.0.0" } },
  "Express 4": { adapter: "express", older: true, packages: { express: "^4.18.0", "@types/express": "^4.17.0" } },
  "Koa 3": { adapter: "koa", packages: { koa: "^3.0.0", "@types/koa": "^3.0.0" } },
  "Socket.IO 4": {
    adapter: "socket.io",
    beside: ["express"],
    older: true,
    // The declarations of Engine.IO need TypeScript 5.7.
    skipsLibraries: true,
    packages: { "socket.io": "^4.8.0", express: "^5.0.0", "@types/express": "^5.0.0" },
  },
  "Koa 2": { adapter: "koa", older: true, packages: { koa: "^2.15.0", "@types/koa": "^2.15.0" } },
};
/** Versions of TypeScript: of each the newest. */
const ALL = ["5.6", "5.9", "6", "7"];
/** Since TypeScript 5.8 a CommonJS file may import ESM as `require()` does; before, only `await import()` compiles. */
const WITH_REQUIRE = ALL.filter((version) => Number(version) >= 5.8);
/** TypeScript 7 has no `moduleResolution: node10` any more, and 6 has it where `ignoreDeprecations` says so. */
const BEFORE_7 = ["5.6", "6"];
/** Since TypeScript 6 `moduleResolution: bundler` goes with `module: commonjs`. */
const SINCE_6 = ALL.filter((version) => Number(version) >= 6);
/** One of them checks the packages' declarations, too, with those of all their dependencies: that takes most time. */
const PROGRAMS = [
  { name: "ESM, nodenext", folder: "module", module: "nodenext", compilers: ALL, checksLibraries: true },
  { name: "ESM, bundler", folder: "module", module: "esnext", moduleResolution: "bundler", compilers: ALL },
  { name: "CommonJS, nodenext", folder: "commonjs", module: "nodenext", compilers: WITH_REQUIRE },
  { name: "CommonJS, node10", folder: "commonjs", module: "commonjs", moduleResolution: "node10", compilers: BEFORE_7 },
  {
    name: "CommonJS, bundler",
    folder: "commonjs",
    module: "commonjs",
    moduleResolution: "bundler",
    compilers: SINCE_6,
  },
  { name: "CommonJS, node20", folder: "commonjs", module: "node20", compilers: WITH_REQUIRE },
  { name: "unaugmented", folder: "module", module: "nodenext", compilers: ALL },
  {
    name: "unaugmented, node10",
    folder: "commonjs",
    module: "commonjs",
    moduleResolution: "node10",
    compilers: ["5.6"],
  },
];
/** Of an older major, and of an extension, only this one: the rest does not depend on it. */
const OLDER_PROGRAMS = PROGRAMS.slice(0, 1);

process.chdir(ROOT);
ensureInstalled();
const base = temporaryDirectory("packages");
let tarballs;
const packed = await report("pack", async () => {
  tarballs = await packAll(join(base, "tarballs"));
});
if (!packed) process.exit();
await report("the sizes in docs/support.md", () => checkSizes(tarballs));
await report("npm publish --dry-run", () => publishAll(tarballs, { dryRun: true }));

for (const folder of PUBLISHED) {
  await report(`@portcullis/${folder} holds what it should`, () => checkFiles(folder));
  await report(`@portcullis/${folder}, publint`, () => lint(tarballs[folder]));
  await report(`@portcullis/${folder}, attw`, () => checkTypeResolution(tarballs[folder]));
}

await report("messages name documents and headings that are in the package", checkDocuments);

const compilers = join(base, "compilers");
const installs = [
  () => report(`TypeScript ${ALL.join(", ")}, install`, installCompilers),
  ...Object.keys(CONSUMERS).map((name) => () => report(`${name}, install`, () => installConsumer(name))),
];
const installed = await inParallel(installs);
if (installed.every(Boolean)) await inParallel(Object.keys(CONSUMERS).flatMap(checksOf));

async function checkFiles(folder) {
  const { stdout } = await run("tar", ["-tzf", tarballs[folder]], {});
  const sources = readdirSync(join("packages", folder, "src"), { recursive: true }).filter((file) =>
    /\.ts$/.test(file),
  );
  const built = sources.flatMap((file) => [".js", ".d.ts"].map((suffix) => `dist/${file.replace(/\.ts$/, suffix)}`));
  const documents = folder === "core" ? shippedDocuments().map((name) => `docs/${name}`) : [];
  const expected = [...built, ...documents, "LICENSE", "README.md", "package.json"].map((file) => `package/${file}`);
  assert.deepEqual(stdout.trim().split("\n").sort(), expected.sort());
  const license = await run("tar", ["-xzOf", tarballs[folder], "package/LICENSE"], {});
  assert.equal(license.stdout, readFileSync("LICENSE", "utf8"), "its LICENSE is not the repository's");
}

/** A message says "see @portcullis/core/docs/errors.md#code": the file is in the package, with a heading for every code. */
async function checkDocuments() {
  const directory = join(base, "documents");
  mkdirSync(directory);
  await run("tar", ["-xzf", tarballs.core, "-C", directory], {});
  const inside = join(directory, "package");
  const readInside = (file) => readFileSync(join(inside, file), "utf8");
  const anchorsOf = (file) =>
    [...readInside(file).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => {
      const plain = heading.toLowerCase().replace(/[^\w\- ]/g, "");
      return plain.replaceAll(" ", "-");
    });
  const codesOf = (file, union) => {
    const [, members = ""] = new RegExp(`type ${union} = ([^;]+);`).exec(readInside(`dist/${file}`)) ?? [];
    const codes = [...members.matchAll(/"([a-z_]+)"/g)].map(([, code]) => code);
    assert(codes.length > 10, `${union} is not in ${file}`);
    return codes;
  };
  const missing = (file, anchors) => anchors.filter((anchor) => !anchorsOf(file).includes(anchor));
  const thrown = ["option_invalid", "cache_timeout", "cache_value_too_large"];
  const denials = codesOf("http/verdict.d.ts", "DenialCode");
  assert.deepEqual(missing("docs/errors.md", [...denials, ...thrown]), []);
  assert.deepEqual(missing("docs/operations.md", codesOf("store/ports/health.d.ts", "FindingCode")), []);

  const sources = readdirSync(join(inside, "dist"), { recursive: true }).filter((file) => file.endsWith(".js"));
  const named = sources.flatMap((file) => [
    ...readInside(`dist/${file}`).matchAll(/@portcullis\/core\/(docs\/[\w.-]+\.md)/g),
  ]);
  for (const [, file] of named) readInside(file);

  const shipped = readdirSync(join(inside, "docs"));
  for (const page of shipped)
    for (const [, target] of readInside(`docs/${page}`).matchAll(/\]\(((?![a-z]+:)[^()\s]+)\)/g)) {
      const [file, anchor] = target.split("#");
      const goal = file === "" ? page : file;
      assert(shipped.includes(goal), `docs/${page} leads to ${target}, which is not in the package`);
      if (anchor !== undefined) assert.deepEqual(missing(`docs/${goal}`, [anchor]), [], `docs/${page} to ${target}`);
    }
}

async function lint(tarball) {
  const { stdout } = await run(process.execPath, ["node_modules/publint/src/cli.js", "--strict", tarball], {});
  assert.match(stdout, /All good!/);
}

async function checkTypeResolution(tarball) {
  const attw = "node_modules/@arethetypeswrong/cli/dist/index.js";
  await run(process.execPath, [attw, "--profile", "esm-only", "--format", "ascii", tarball], {});
}

function directoryOf(consumer) {
  return join(base, consumer.toLowerCase().replace(" ", "-"));
}

/** Installs the tarballs as getting-started.md says, and lays out the sources of a consumer beside them. */
async function installConsumer(name) {
  const { adapter, beside = [], packages } = CONSUMERS[name];
  const directory = directoryOf(name);
  const ours = ["core", ...beside, adapter].map((folder) => [`@portcullis/${folder}`, `file:${tarballs[folder]}`]);
  const peers = { "@opentelemetry/api": "^1.9.0", "@types/node": "^20.0.0" };
  await install(directory, { ...Object.fromEntries(ours), ...packages, ...peers });
  for (const type of ["module", "commonjs"]) {
    const folder = join(directory, type);
    cpSync("tools/consumers", folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type }));
    for (const source of ["core", adapter]) writeReadme(source, join(folder, adapter));
  }
}

/** Writes the snippets of a package's README as source files. */
function writeReadme(folder, directory) {
  const snippets = readFileSync(join("packages", folder, "README.md"), "utf8").matchAll(/^```ts\n([^]*?)^```$/gm);
  for (const [index, [, code]] of [...snippets].entries()) {
    const kind = code.includes("/unaugmented") ? "unaugmented" : "typed";
    writeFileSync(join(directory, `${kind}-readme-${folder}-${index}.ts`), code);
  }
}

async function install(directory, dependencies) {
  mkdirSync(directory);
  writeFileSync(join(directory, "package.json"), JSON.stringify({ private: true, dependencies }));
  await runNpm(["install", "--no-audit", "--no-fund", "--prefer-offline", "--include=dev"], directory);
}

function installCompilers() {
  return install(compilers, Object.fromEntries(ALL.map((version) => [`ts${version}`, `npm:typescript@${version}`])));
}

function checksOf(name) {
  const { adapter, older = false, skipsLibraries = false } = CONSUMERS[name];
  const directory = directoryOf(name);
  const scripts = [
    ["require()", "commonjs", "server.cjs"],
    ["import", "module", "server.mjs"],
  ];
  return [
    ...scripts.map(([how, folder, file]) => () => {
      return report(`${name}, JavaScript, ${how}`, () => serve(join(directory, folder, adapter, file)));
    }),
    ...(older ? OLDER_PROGRAMS : PROGRAMS).flatMap((program) =>
      program.compilers.map((version) => () => {
        return report(`${name}, TypeScript ${version}, ${program.name}`, () => {
          return compile(
            join(directory, program.folder),
            adapter,
            skipsLibraries ? { ...program, checksLibraries: false } : program,
            version,
          );
        });
      }),
    ),
  ];
}

async function serve(file) {
  // Node 22.12 calls require() of ESM an experiment.
  const words = ["--disable-warning=ExperimentalWarning", file];
  const { NODE_ENV, ...env } = process.env;
  const { stdout, stderr } = await run(process.execPath, words, { env, timeout: 30_000 });
  assert.equal(stdout + stderr, "", "it prints something");
}

async function compile(directory, adapter, { name, module, moduleResolution, checksLibraries = false }, version) {
  const config = join(directory, `${name.replace(/\W+/g, "-")}-${version}.json`);
  const compilerOptions = {
    ...{ target: "es2022", lib: ["es2022"], types: ["node"], module, moduleResolution, noEmit: true },
    ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, esModuleInterop: true },
    skipLibCheck: !checksLibraries,
    ...(moduleResolution === "node10" && Number(version) >= 6 ? { ignoreDeprecations: "6.0" } : {}),
  };
  const include = [`${adapter}/${name.startsWith("unaugmented") ? "unaugmented" : "typed"}*.ts`];
  writeFileSync(config, JSON.stringify({ compilerOptions, include }));
  const tsc = join(compilers, "node_modules", `ts${version}`, "bin", "tsc");
  await run(process.execPath, [tsc, "-p", config], { cwd: directory });
}

/** Runs tasks, as many at a time as there are processors, and returns their results in order. */
async function inParallel(tasks) {
  const results = [];
  const waiting = [...tasks.entries()];
  async function work() {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) results[next[0]] = await next[1]();
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return results;
}
