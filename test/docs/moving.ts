import { sectionOf } from "./documents.js";

/** The first column of all tables in the section of a library: those who come from it find their options there. */
function firstColumn(document: string, library: string): string[] {
  return sectionOf(document, library)
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.split("|")[1]?.trim() ?? "");
}

/** The options of a library that a page has no entry for. */
export function missingOptions(document: string, library: string, options: readonly string[]): string[] {
  const words = new Set(
    firstColumn(document, library)
      .join("\n")
      .match(/[\w.]+/g),
  );
  return options.filter((option) => !words.has(option));
}

/** The name and version of a library in the head of its table. */
export function headOf(document: string, library: string): string | undefined {
  return firstColumn(document, library)[0];
}
