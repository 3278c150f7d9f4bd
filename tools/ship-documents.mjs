// node tools/ship-documents.mjs: puts the documents for users into packages/core/docs, from where npm packs them. Messages of
// the packages name these files, so that a reader finds them without a network.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./child.mjs";

/** Pages about the work on this repository. */
const OWN = ["ARCHITECTURE.md", "chaos.md", "comparison.md", "performance.md", "scale.md"];

/** The names of the pages that are shipped. */
export function shippedDocuments() {
  return readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md") && !OWN.includes(name));
}

/**
 * A page as it is shipped: a link to a page or a heading that is not shipped becomes its text.
 *
 * @param {string} text
 * @param {readonly string[]} shipped
 * @returns {string}
 */
export function shippedText(text, shipped) {
  return text.replace(/!?\[([^\]]*)\]\(([^()\s]+)\)/g, (link, words, target) => {
    const [page] = target.split("#");
    return page === "" || shipped.includes(page) || /^[a-z]+:/.test(target) ? link : words;
  });
}

/** Writes the pages. Returns their names. */
export function shipDocuments() {
  const folder = join(ROOT, "packages/core/docs");
  const shipped = shippedDocuments();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const name of shipped)
    writeFileSync(join(folder, name), shippedText(readFileSync(join(ROOT, "docs", name), "utf8"), shipped));
  return shipped;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) shipDocuments();
