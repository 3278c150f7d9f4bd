// What the workflow for releases does with the packages. Only Node's own modules: the job that may publish installs nothing.
//
//   node tools/publish.mjs --is-new              prints whether the registry has not got this version
//   node tools/publish.mjs --pack <dir>          packs the packages into a directory
//   node tools/publish.mjs <dir> [--dry-run]     publishes the tarballs of a directory
//   node tools/publish.mjs --notes               prints the section of CHANGELOG.md about this version
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./child.mjs";
import { runNpm } from "./npm.mjs";
import { PUBLISHED, packAll } from "./pack.mjs";

function readManifest(folder) {
  return JSON.parse(readFileSync(join(ROOT, "packages", folder, "package.json"), "utf8"));
}

/** Whether a version of a package is on the registry. Fails if the registry does not answer. */
async function isPublished(name, version) {
  try {
    const versions = JSON.parse(await runNpm(["view", name, "versions", "--json"], ROOT));
    return [versions].flat().includes(version);
  } catch (error) {
    if (/\bE404\b/.test(error.message)) return false;
    throw error;
  }
}

/**
 * Publishes tarballs, core first, since the others need it. A version that is there is left out, so that a release that
 * failed half way can be repeated.
 *
 * @param {Record<string, string>} tarballs Paths by the packages' folders.
 * @param {{ dryRun?: boolean }} [options] A dry run asks no registry and needs no credentials.
 */
export async function publishAll(tarballs, { dryRun = false } = {}) {
  for (const folder of PUBLISHED) {
    const { name, version } = readManifest(folder);
    if (!dryRun && (await isPublished(name, version))) continue;
    const words = ["publish", tarballs[folder], "--access=public", "--provenance", "--ignore-scripts"];
    // Nothing listens there.
    if (dryRun) words.push("--dry-run", "--registry=http://127.0.0.1:9/", "--fetch-retries=0");
    await runNpm(words, ROOT);
    console.log(`${dryRun ? "would publish" : "published"} ${name} ${version}`);
  }
}

/** The names that npm gives to tarballs. */
function tarballsIn(directory) {
  return Object.fromEntries(
    PUBLISHED.map((folder) => {
      const { name, version } = readManifest(folder);
      return [folder, join(directory, `${name.replace("@", "").replace("/", "-")}-${version}.tgz`)];
    }),
  );
}

function readNotes() {
  const { version } = readManifest("core");
  const sections = readFileSync(join(ROOT, "CHANGELOG.md"), "utf8").split(/^## /m);
  const section = sections.find((text) => text.startsWith(`[${version}]`));
  if (section === undefined) throw new Error(`CHANGELOG.md has no section about ${version}`);
  return section.slice(section.indexOf("\n")).trim();
}

async function main([first, second]) {
  if (first === "--notes") return console.log(readNotes());
  if (first === "--pack") return void (await packAll(resolve(second)));
  if (first === "--is-new") {
    const manifests = PUBLISHED.map(readManifest);
    const published = await Promise.all(manifests.map(({ name, version }) => isPublished(name, version)));
    return console.log(published.includes(false));
  }
  await publishAll(tarballsIn(resolve(first)), { dryRun: second === "--dry-run" });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
