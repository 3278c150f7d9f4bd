// node tools/addresses.mjs: writes the addresses of the project into the manifests of the packages.
//
// The one place that holds these addresses. They are empty until the project has a home: an address that belongs to somebody
// else must be in no manifest, no document and no message. Fill them in here, run this file, and commit what it changes.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./child.mjs";
import { PUBLISHED } from "./pack.mjs";

/** @type {{ repository: string, homepage: string, issues: string }} */
export const ADDRESSES = {
  /** As in `https://github.com/<owner>/<name>`. Releases with provenance need it. */
  repository: "",
  /** The page of the project, such as the repository with `#readme`. */
  homepage: "",
  /** Where bugs are reported. */
  issues: "",
};

/**
 * The manifest of a package with the addresses, and without those that are empty.
 *
 * @param {string} folder The folder of the package, under packages/.
 * @param {typeof ADDRESSES} addresses
 * @returns {string}
 */
export function manifestOf(folder, { repository, homepage, issues } = ADDRESSES) {
  const manifest = JSON.parse(readFileSync(join(ROOT, "packages", folder, "package.json"), "utf8"));
  const members = {
    homepage: homepage === "" ? undefined : homepage,
    bugs: issues === "" ? undefined : issues,
    repository:
      repository === "" ? undefined : { type: "git", url: `git+${repository}.git`, directory: `packages/${folder}` },
  };
  const entries = Object.entries(manifest).filter(([name]) => !(name in members));
  const place = entries.findIndex(([name]) => name === "author");
  entries.splice(place, 0, ...Object.entries(members).filter(([, value]) => value !== undefined));
  return `${JSON.stringify(Object.fromEntries(entries), undefined, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const folder of PUBLISHED) writeFileSync(join(ROOT, "packages", folder, "package.json"), manifestOf(folder));
}
