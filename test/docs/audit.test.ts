import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import ts from "typescript";
import { root, sectionOf } from "./documents.js";

/** The types of `AuditEvent`, with their members. */
function declaredEvents(): Map<string, string[]> {
  const path = join(root, "packages/core/src/telemetry/audit.ts");
  const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true);
  const found = new Map<string, string[]>();
  const visit = (node: ts.Node): void => {
    if (ts.isTypeLiteralNode(node)) {
      const members = node.members
        .filter(ts.isPropertySignature)
        .map(({ name, type }) => [name.getText(), type] as const);
      const type = members.find(([name]) => name === "type")?.[1]?.getText() ?? "";
      for (const [, word = ""] of type.matchAll(/"([a-z_]+)"/g))
        found.set(
          word,
          members.map(([name]) => name).filter((name) => name !== "type"),
        );
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function namesIn(cell: string): string[] {
  return Array.from(cell.matchAll(/`(\w+)`/g), ([, name = ""]) => name);
}

it("the table of the audit trail has every security event with its members, and no other", () => {
  const rows = sectionOf("docs/operations.md", "Audit trail")
    .split("\n")
    .filter((line) => line.startsWith("| `") && !line.includes("`type`"))
    .map((line) => line.split("|").map((cell) => cell.trim()));
  const documented = rows.flatMap(([, types = "", members = ""]) =>
    namesIn(types).map((type): [string, string[]] => [type, namesIn(members)]),
  );
  expect(documented.length).to.be.greaterThan(10);
  expect(new Map(documented)).to.deep.equal(declaredEvents());
});
