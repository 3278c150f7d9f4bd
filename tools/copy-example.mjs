// npm run copy-example -- <name> <dir>: an example as a project of its own, with the packages beside it as tarballs.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { ROOT } from "./child.mjs";
import { listExamples } from "./example.mjs";
import { ensureInstalled } from "./install.mjs";
import { packAll } from "./pack.mjs";

const VENDOR = "vendor";

/**
 * Copies an example so that `npm install` and `npm start` work in the copy. The packages need not be on the registry.
 *
 * @param {string} name One of the folders in examples/.
 * @param {string} directory New or empty.
 */
export async function copyExample(name, directory) {
  if (existsSync(directory) && readdirSync(directory).length > 0) throw new Error(`${directory} is not empty`);
  const source = join(ROOT, "examples", name);
  if (!relative(source, resolve(directory)).startsWith("..")) throw new Error(`${directory} is inside the example`);
  const packed = mkdtempSync(join(tmpdir(), "portcullis-pack-"));
  try {
    const tarballs = await packAll(packed);
    cpSync(source, directory, {
      recursive: true,
      filter: (file) => !["node_modules", "dist", ".env"].includes(basename(file)),
    });
    mkdirSync(join(directory, VENDOR));
    const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
    function vendor(folder) {
      const file = `${VENDOR}/${basename(tarballs[folder])}`;
      cpSync(tarballs[folder], join(directory, file));
      return `file:${file}`;
    }
    for (const dependency of Object.keys(manifest.dependencies)) {
      const [scope, folder] = dependency.split("/");
      if (scope === "@portcullis") manifest.dependencies[dependency] = vendor(folder);
    }
    manifest.scripts.prestart = "npm run build";
    // What the adapter asks for is not on the registry either.
    manifest.overrides = { "@portcullis/core": vendor("core") };
    writeFileSync(join(directory, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  } finally {
    rmSync(packed, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));

async function main([name, target]) {
  const names = listExamples();
  if (!names.includes(name) || target === undefined) {
    console.error(
      `Usage: npm run copy-example -- <name> <dir>\nExamples: ${names.join(", ")}. The directory is new or empty.`,
    );
    process.exitCode = 1;
    return;
  }
  // npm runs scripts in the repository's root, and says where its user was.
  const directory = resolve(process.env.INIT_CWD ?? process.cwd(), target);
  ensureInstalled();
  try {
    await copyExample(name, directory);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
    return;
  }
  console.log(`${name} is in ${directory}. Next:

  cd ${relative(process.cwd(), directory) || "."}
  npm install
  npm start

Or with Docker, Redis included:

  JWT_SECRET=$(openssl rand -hex 32) docker compose up --build

The packages are in ${VENDOR}/. Once they are on the registry, depend on their versions and drop "overrides".`);
}
