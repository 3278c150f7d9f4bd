import { expect } from "chai";
import { sectionOf } from "./documents.js";

/**
 * A page for those who come from another library has a table for each, under its name, and its first column names every
 * option of that library.
 */
export function expectEveryOption(document: string, library: string, options: readonly string[]): void {
  const firstCells = sectionOf(document, library)
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.split("|")[1] ?? "")
    .join("\n");
  const words = new Set(firstCells.match(/[\w.]+/g));
  expect(options.filter((option) => !words.has(option))).to.deep.equal([]);
}
