import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { proseOf, root } from "./documents.js";

/** Targets of links within the repository, without those in code. */
export function linksOf(document: string): string[] {
  return proseOf(document).flatMap(linksIn);
}

/** Targets of links within the repository in a text. */
export function linksIn(text: string): string[] {
  const targets = Array.from(text.matchAll(/\]\(([^()\s]+)\)/g), ([, target = ""]) => target);
  return targets.filter((target) => !/^[a-z][a-z0-9+.-]*:/.test(target));
}

/** The file that a link of a document leads to, by its path from the root. */
export function fileOf(document: string, target: string): string {
  const [path = ""] = target.split("#");
  return path === "" ? document : normalize(join(dirname(document), path));
}

export function leadsSomewhere(document: string, target: string): boolean {
  const [, anchor] = target.split("#");
  const file = fileOf(document, target);
  if (!existsSync(join(root, file))) return false;
  return anchor === undefined || (file.endsWith(".md") && anchorsOf(file).includes(anchor));
}

/** As GitHub makes them. */
export function anchorsOf(document: string): string[] {
  return proseOf(document)
    .filter((line) => /^#+ /.test(line))
    .map((line) =>
      line
        .replace(/^#+ /, "")
        .toLowerCase()
        .replace(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    );
}
