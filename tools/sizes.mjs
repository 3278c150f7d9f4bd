// node tools/sizes.mjs [--write]: compares the table of sizes in docs/support.md with the packages, or writes it.
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";
import { run } from "./npm.mjs";
import { PUBLISHED, packAll } from "./pack.mjs";
import { temporaryDirectory } from "./temporary.mjs";

const DOCUMENT = join(ROOT, "docs", "support.md");
const TABLE = /(<!-- sizes -->\n)([^]*?)(<!-- end of sizes -->)/;
/** The table need not be made anew for every line of code. */
const TOLERANCE = 0.1;

/**
 * Compares the table with these tarballs.
 *
 * @param {Record<string, string>} tarballs Paths by the packages' folders.
 * @throws {assert.AssertionError} naming the package whose size the table does not tell.
 */
export async function checkSizes(tarballs) {
  const rows = readTable();
  for (const folder of PUBLISHED) {
    const found = await measure(folder, tarballs[folder]);
    const said = rows.get(found.name);
    assert.ok(said, `docs/support.md does not tell the size of ${found.name}`);
    for (const [what, size] of Object.entries(said)) {
      const difference = Math.abs(found[what] - size);
      const words = `${found.name}: docs/support.md says ${what} ${size}, it is ${found[what]}`;
      assert.ok(difference <= size * TOLERANCE, `${words}; run node tools/sizes.mjs --write`);
    }
  }
}

function readTable() {
  const [, , table = ""] = TABLE.exec(readFileSync(DOCUMENT, "utf8")) ?? [];
  const row = /^\| `([^`]+)` \| (\d+) kB \| (\d+) kB \| (\d+) \| (\d+) \|$/gm;
  return new Map(
    [...table.matchAll(row)].map(([, name, ...sizes]) => {
      const [download, disk, files, dependencies] = sizes.map(Number);
      return [name, { download, disk, files, dependencies }];
    }),
  );
}

async function measure(folder, tarball) {
  const { name, dependencies } = JSON.parse(readFileSync(join(ROOT, "packages", folder, "package.json"), "utf8"));
  const { stdout } = await run("tar", ["-tvzf", tarball], {});
  // "-rw-r--r-- 0/0 1234 1985-10-26 08:15 package/LICENSE"
  const sizes = stdout
    .trim()
    .split("\n")
    .map((line) => Number(/^\S+\s+\S+\s+(\d+)\s/.exec(line)?.[1]));
  const disk = sizes.reduce((sum, size) => sum + size, 0);
  const kilobytes = (bytes) => Math.round(bytes / 1000);
  return {
    name,
    download: kilobytes(statSync(tarball).size),
    disk: kilobytes(disk),
    files: sizes.length,
    dependencies: Object.keys(dependencies).length,
  };
}

async function writeTable(tarballs) {
  const head = ["| package | download | on disk | files | dependencies |", "|---|---|---|---|---|"];
  const measured = await Promise.all(PUBLISHED.map((folder) => measure(folder, tarballs[folder])));
  const rows = measured.map(
    ({ name, download, disk, files, dependencies }) =>
      `| \`${name}\` | ${download} kB | ${disk} kB | ${files} | ${dependencies} |`,
  );
  const text = readFileSync(DOCUMENT, "utf8");
  writeFileSync(DOCUMENT, text.replace(TABLE, `$1${[...head, ...rows].join("\n")}\n$3`));
  console.log(rows.join("\n"));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  ensureInstalled();
  const tarballs = await packAll(temporaryDirectory("sizes"));
  if (process.argv.includes("--write")) await writeTable(tarballs);
  else await checkSizes(tarballs);
}
