import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { events } from "@portcullis/core";
import ts from "typescript";
import { root, sectionOf } from "./documents.js";

// What a process says in events, log lines, metrics and spans is collected from the code, and compared with docs/operations.md.

const files = readdirSync(join(root, "packages"), { recursive: true, encoding: "utf8" })
  .map((name) => name.replaceAll("\\", "/"))
  .filter((name) => /^(core|express|koa|socket\.io)\/src\/.*\.ts$/.test(name));
const sources = files.map((name) => {
  const path = join(root, "packages", name);
  return ts.createSourceFile(name, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true);
});

/** All nodes below a node that pass the test. */
function find<T extends ts.Node>(within: ts.Node, test: (node: ts.Node) => node is T): T[] {
  const found: T[] = [];
  const visit = (node: ts.Node): void => {
    if (test(node)) found.push(node);
    ts.forEachChild(node, visit);
  };
  visit(within);
  return found;
}

const calls = sources.flatMap((source) => find(source, ts.isCallExpression));

/** The rows of a table below a heading, by their cells. */
function rowsOf(heading: string): string[][] {
  return sectionOf("docs/operations.md", heading)
    .split("\n")
    .filter((line) => line.startsWith("| ") && !line.startsWith("|---"))
    .slice(1)
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

function quotedIn(cell: string): string[] {
  return Array.from(cell.matchAll(/`([^`]+)`/g), ([, text = ""]) => text);
}

/** The names of the members of an object literal; those of a spread are unknown. */
function membersOf(node: ts.Expression | undefined): string[] | undefined {
  if (node === undefined || !ts.isObjectLiteralExpression(node)) return undefined;
  if (node.properties.some(ts.isSpreadAssignment)) return undefined;
  return node.properties.map(({ name }) => name?.getText() ?? "");
}

describe("docs/operations.md", () => {
  describe("has a row for each event", () => {
    const rows = new Map(rowsOf("Events").map(([channel = "", message = ""]) => [quotedIn(channel)[0] ?? "", message]));

    it("and for no other", () => {
      expect([...rows.keys()]).to.have.members(Object.values(events).map(({ name }) => name));
    });

    it("with the members of its messages", () => {
      const published = new Map<string, Set<string>>();
      for (const call of calls) {
        const [, name] = /\bevents\.(\w+)\.publish$/.exec(call.expression.getText()) ?? [];
        const members = membersOf(call.arguments[0]);
        const channel = events[name as keyof typeof events] as { readonly name: string } | undefined;
        if (channel === undefined || members === undefined) continue;
        const known = published.get(channel.name) ?? new Set();
        published.set(channel.name, known);
        for (const member of members) if (member !== "gate") known.add(member);
        expect(members, `${channel.name} says which gate it is about`).to.include("gate");
      }
      expect(published.size).to.be.greaterThan(15);
      for (const [channel, members] of published) {
        const told = rows.get(channel)?.match(/\w+/g) ?? [];
        expect(told, channel).to.have.members([...members]);
      }
    });
  });

  describe("has a row for each metric", () => {
    const rows = new Map<string, string[]>();
    for (const [names = "", labels = ""] of rowsOf("Metrics"))
      for (const name of quotedIn(names))
        if (/^portcullis_\w+$/.test(name) && !rows.has(name)) rows.set(name, quotedIn(labels));
    const alerts = /[{(]/;

    it("and for no other", () => {
      const named = sources.flatMap((source) =>
        find(source, ts.isStringLiteral).flatMap(({ text }) => (/^portcullis_[a-z_]+$/.test(text) ? [text] : [])),
      );
      expect([...rows.keys()].filter((name) => !alerts.test(name))).to.have.members([...new Set(named)]);
    });

    it("with the labels that its counter is given", () => {
      let checked = 0;
      for (const source of sources) {
        const counters = find(source, ts.isPropertyDeclaration).flatMap(({ name, initializer }) => {
          if (initializer === undefined || !ts.isCallExpression(initializer)) return [];
          const [first] = initializer.arguments;
          if (!/#counters\.add$/.test(initializer.expression.getText()) || first === undefined) return [];
          return [[name.getText(), (first as ts.StringLiteral).text] as const];
        });
        for (const [field, metric] of counters) {
          const labels = new Set<string>();
          for (const call of find(source, ts.isCallExpression)) {
            const text = call.expression.getText();
            if (text === `this.${field}.addOutcome`) labels.add("outcome");
            if (text === `this.${field}.add`) for (const label of membersOf(call.arguments[0]) ?? []) labels.add(label);
          }
          expect(rows.get(metric), metric).to.have.members([...labels]);
          checked += 1;
        }
      }
      expect(checked).to.be.greaterThan(15);
    });
  });

  it("has a row for each span, with its attributes", () => {
    const told = rowsOf("Spans").flatMap(([span = "", attributes = ""]) => [
      ...quotedIn(span),
      ...quotedIn(attributes),
    ]);
    const made = sources
      .filter(({ fileName }) => fileName.endsWith("/opentelemetry.ts"))
      .flatMap((source) => find(source, ts.isStringLiteral))
      .flatMap(({ text }) => (/^(portcullis|http)\.[a-z_.]+$/.test(text) ? [text] : []));
    expect([...new Set(told)]).to.have.members([...new Set(made)]);
  });

  describe("has a row for each line of the log", () => {
    const rows = rowsOf("Logs").map(([level = "", message = "", fields = ""]) => ({
      level,
      message: quotedIn(message)[0] ?? "",
      fields: quotedIn(fields),
    }));
    const lines = calls.flatMap(linesOf);

    it("and for no other", () => {
      const keyOf = ({ level, message }: { level: string; message: string }): string => `${level}: ${message}`;
      expect(rows.map(keyOf)).to.have.members([...new Set(lines.map(keyOf))]);
    });

    it("with its fields", () => {
      for (const { level, message, fields } of lines) {
        const row = rows.find((one) => one.level === level && one.message === message);
        if (fields !== undefined) expect(row?.fields, message).to.have.members(fields);
      }
    });
  });
});

interface LogLine {
  readonly level: string;
  readonly message: string;
  /** Undefined if the call does not show them. */
  readonly fields: readonly string[] | undefined;
}

/** The lines that a call of a logger may write. A part that varies is `*`. */
function linesOf(call: ts.CallExpression): LogLine[] {
  const [, level] = /\blogger\.(warn|debug)$/i.exec(call.expression.getText().replace("#", "")) ?? [];
  const [fields, message] = call.arguments;
  if (level === undefined || message === undefined) return [];
  return textsOf(message).map((text) => {
    expect(text, "every message begins with the name").to.match(/^portcullis: /);
    return { level, message: text.replace(/^portcullis: /, ""), fields: membersOf(fields) };
  });
}

/** The texts that an expression may have. Fails for one that cannot be found in its file. */
function textsOf(node: ts.Expression): string[] {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return [node.text];
  if (ts.isTemplateExpression(node))
    return [node.head.text + node.templateSpans.map(({ literal }) => `*${literal.text}`).join("")];
  if (ts.isConditionalExpression(node)) return [...textsOf(node.whenTrue), ...textsOf(node.whenFalse)];
  if (ts.isAsExpression(node)) return textsOf(node.expression);
  if (ts.isObjectLiteralExpression(node))
    return node.properties.filter(ts.isPropertyAssignment).flatMap(({ initializer }) => textsOf(initializer));
  if (ts.isElementAccessExpression(node)) return textsOf(node.expression);
  if (ts.isIdentifier(node)) return textsOfName(node);
  throw new Error(`${node.getSourceFile().fileName}: write the message of "${node.getText()}" as a text or a const`);
}

/** The texts of a constant, or of the arguments that are passed for a parameter. */
function textsOfName(name: ts.Identifier): string[] {
  for (let scope: ts.Node = name.parent; ; scope = scope.parent) {
    if (ts.isFunctionLike(scope)) {
      const index = scope.parameters.findIndex((parameter) => parameter.name.getText() === name.text);
      if (index !== -1) return textsOfArguments(scope, index);
    }
    if (ts.isBlock(scope) || ts.isSourceFile(scope)) {
      const declared = scope.statements
        .filter(ts.isVariableStatement)
        .flatMap(({ declarationList }) => [...declarationList.declarations])
        .find((declaration) => declaration.name.getText() === name.text);
      if (declared?.initializer !== undefined) return textsOf(declared.initializer);
    }
    if (ts.isSourceFile(scope)) throw new Error(`${scope.fileName}: no constant "${name.text}" is found for a message`);
  }
}

function textsOfArguments(called: ts.SignatureDeclaration, index: number): string[] {
  const name = called.name?.getText() ?? "";
  const passed = find(called.getSourceFile(), ts.isCallExpression).filter(
    ({ expression }) => expression.getText() === name || expression.getText() === `this.${name}`,
  );
  return passed.flatMap((call) => {
    const argument = call.arguments[index];
    return argument === undefined ? [] : textsOf(argument);
  });
}
