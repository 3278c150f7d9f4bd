import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root directory, with a slash at its end. */
export const root: string = fileURLToPath(new URL("../../", import.meta.url));

/** README.md, the guides, the READMEs of examples and packages and the other documents at the root, by their paths from there. */
export function listDocuments(): string[] {
  const atRoot = readdirSync(root).filter((name) => name.endsWith(".md"));
  const guides = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  const readmes = ["examples", "packages"].flatMap((folder) =>
    readdirSync(join(root, folder))
      .map((name) => `${folder}/${name}/README.md`)
      .filter((path) => existsSync(join(root, path))),
  );
  return [...atRoot, ...guides.map((name) => `docs/${name}`), ...readmes];
}

export function readDocument(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** A fenced block of a document. */
export interface Snippet {
  readonly document: string;
  /** Of its first line of code, from 1. */
  readonly line: number;
  readonly language: string;
  /** What the comment `<!-- snippet: name -->` in the line before it says. */
  readonly prelude: string | undefined;
  /** The file in `platforms` that the comment `<!-- platform: path -->` names. `npm run test:platforms` runs it. */
  readonly platform: string | undefined;
  readonly code: string;
}

export function snippetsOf(document: string): Snippet[] {
  const snippets: Snippet[] = [];
  const lines = readDocument(document).split("\n");
  for (let index = 0; index < lines.length; index += 1) {
    const fence = /^\s*(`{3,}|~{3,})(.*)$/.exec(lines[index] ?? "");
    if (fence === null) continue;
    const start = index + 1;
    const end = lines.findIndex((line, at) => at >= start && line.trim() === fence[1]);
    if (end === -1) throw new Error(`${document}:${index + 1}: this fence is never closed`);
    const prelude = /^<!-- snippet: ([\w-]+) -->$/.exec(lines[index - 1] ?? "")?.[1];
    const platform = /^<!-- platform: (\S+) -->$/.exec(lines[index - 1] ?? "")?.[1];
    const code = lines.slice(start, end).join("\n");
    snippets.push({ document, line: start + 1, language: fence[2] ?? "", prelude, platform, code });
    index = end;
  }
  return snippets;
}

/** The document without its fenced blocks, line numbers kept. */
export function proseOf(document: string): string[] {
  const lines = readDocument(document).split("\n");
  for (const { line, code } of snippetsOf(document)) {
    const last = line - 1 + code.split("\n").length;
    lines.fill("", line - 2, last + 1);
  }
  return lines;
}

/** The lines below a heading, up to the next one of the same or a higher level. */
export function sectionOf(document: string, heading: string): string {
  const lines = readDocument(document).split("\n");
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, "") === heading);
  if (start === -1) throw new Error(`${document} has no heading "${heading}"`);
  const level = /^#+/.exec(lines[start] ?? "")?.[0].length ?? 1;
  const end = lines.findIndex((line, at) => at > start && new RegExp(`^#{1,${level}} `).test(line));
  return lines.slice(start + 1, end === -1 ? undefined : end).join("\n");
}
