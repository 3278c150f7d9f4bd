import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { readDocument, root } from "./documents.js";

interface ReferenceTool {
  readonly PAGE: string;
  publicTypes(): ReadonlyMap<string, unknown>;
  describedTypes(page?: string): string[];
  makeReference(page?: string): string;
  undescribed(): string[];
}

const tool = (await import(pathToFileURL(join(root, "tools/reference.mjs")).href)) as ReferenceTool;

describe("docs/reference.md", function () {
  this.timeout(30_000);
  const page = readDocument(tool.PAGE);

  it("has the tables that the docstrings make; if not: npm run reference", () => {
    expect(tool.makeReference(page)).to.equal(page);
  });

  it("would be found out if a table were changed by hand", () => {
    const changed = page.replace("| `redis` |", "| `database` |");
    expect(changed).not.to.equal(page);
    expect(tool.makeReference(changed)).to.equal(page);
  });

  it("describes every public type once", () => {
    expect(tool.describedTypes(page).sort()).to.deep.equal([...tool.publicTypes().keys()].sort());
  });

  it("says what every public type and every member of it is", () => {
    expect(tool.undescribed()).to.deep.equal([]);
  });
});
