// node tools/reference.mjs: writes the tables of docs/reference.md, which describe the public types, from their docstrings.
//
// The page has blocks `<!-- reference: Name Other -->` to `<!-- /reference -->`. A block gets the description of each of these
// types, with its members, their units and defaults. A test compares the page with the code.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { ROOT } from "./child.mjs";

export const PAGE = "docs/reference.md";

/** Entries of packages whose types the page describes. */
const ENTRIES = ["core/src/index.ts", "core/src/testing.ts", "core/src/opentelemetry.ts", "socket.io/src/index.ts"];

/** Pages that say more about a member. */
const MORE = {
  "PortcullisOptions.redis": "operations.md#where-redis-is",
  "PortcullisOptions.service": "getting-started.md#several-services-on-one-redis",
  "PortcullisOptions.auth": "#options-of-auth",
  "PortcullisOptions.tokens": "#options-of-tokens",
  "PortcullisOptions.revocation": "operations.md#revocation",
  "PortcullisOptions.limits": "#options-of-a-limit",
  "PortcullisOptions.cache": "cache.md",
  "PortcullisOptions.responses": "response-cache.md#the-tier-in-process",
  "PortcullisOptions.connections": "realtime.md#open-connections",
  "PortcullisOptions.problemTypes": "errors.md",
  "AuthOptions.secret": "authentication.md#keys-that-are-looked-up",
  "AuthOptions.issuers": "authentication.md#several-issuers",
  "AuthOptions.sharedIssuer": "authentication.md#whose-the-shared-keys-are",
  "AuthOptions.remoteKeys": "authentication.md#how-keys-are-fetched",
  "AuthOptions.subjectClaim": "authentication.md#who-the-user-is",
  "AuthOptions.tokenFrom": "authentication.md#cookies-and-origins",
  "AuthOptions.certificateBound": "authentication.md#tokens-bound-to-a-client-certificate",
  "LimitOptions.releaseAfter": "rate-limits.md#when-a-request-is-done",
  "LimitOptions.precision": "rate-limits.md#leases",
  "Gate.throttleLogin": "login.md",
  "Gate.cacheResponse": "response-cache.md",
  "Gate.idempotency": "coordination.md#idempotent-requests",
  "Gate.events": "realtime.md#server-sent-events",
  "Gate.consume": "realtime.md#open-connections",
  "Gate.routes": "operations.md#health",
  "Gate.tokens": "sessions.md",
  "Gate.sessions": "sessions.md",
  "Gate.cache": "cache.md",
  "Gate.quotas": "rate-limits.md#at-run-time",
  "Gate.connections": "realtime.md#open-connections",
  "Gate.locks": "coordination.md#locks",
  "Gate.leader": "coordination.md#leader",
  "Gate.channels": "realtime.md#channels",
  "Gate.oneTime": "coordination.md#one-time-values",
  "Gate.examine": "operations.md#examination",
  "Serving.serve": "express.md#a-faster-server",
};

/**
 * A public type of a package.
 *
 * @typedef {{ name: string, node: ts.Declaration, file: string }} PublicType
 */

const parsed = new Map();

function parse(file) {
  let source = parsed.get(file);
  if (source === undefined) {
    const text = readFileSync(join(ROOT, "packages", file), "utf8");
    parsed.set(file, (source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)));
  }
  return source;
}

/** The file of a relative import. */
function resolveImport(file, specifier) {
  const path = join(dirname(file), specifier.replace(/\.js$/, ".ts")).replaceAll("\\", "/");
  return existsSync(join(ROOT, "packages", path)) ? path : undefined;
}

const isDeclaration = (node) =>
  ts.isInterfaceDeclaration(node) ||
  ts.isTypeAliasDeclaration(node) ||
  ts.isClassDeclaration(node) ||
  ts.isFunctionDeclaration(node) ||
  ts.isVariableStatement(node);

function namesOf(node) {
  return ts.isVariableStatement(node)
    ? node.declarationList.declarations.map(({ name }) => name.getText())
    : [node.name?.getText() ?? ""];
}

/** The declarations of a name in a file. A function may have several signatures. */
function declarationsOf(file, name) {
  return parse(file).statements.filter((node) => isDeclaration(node) && namesOf(node).includes(name));
}

/** Everything that an entry exports, by name. */
function exportsOf(entry) {
  const types = new Map();
  for (const statement of parse(entry).statements) {
    if (ts.isExportDeclaration(statement) && statement.exportClause !== undefined) {
      const from = statement.moduleSpecifier?.text;
      const file = from === undefined ? entry : resolveImport(entry, from);
      if (file === undefined) continue;
      for (const { name, propertyName } of statement.exportClause.elements) {
        const [node] = declarationsOf(file, (propertyName ?? name).text);
        if (node === undefined) throw new Error(`${file} does not declare ${name.text}`);
        types.set(name.text, { name: name.text, node, file });
      }
    } else if (
      isDeclaration(statement) &&
      statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true
    ) {
      for (const name of namesOf(statement))
        if (!types.has(name)) types.set(name, { name, node: statement, file: entry });
    }
  }
  return types;
}

/** @returns {Map<string, PublicType>} */
export function publicTypes() {
  const types = new Map(ENTRIES.flatMap((entry) => [...exportsOf(entry)]));
  const [serving] = declarationsOf("core/src/http/serving.ts", "Serving");
  return types.set("Serving", { name: "Serving", node: serving, file: "core/src/http/serving.ts" });
}

/** The text of a docstring; `{@link Name}` is the name. A code block is text: it may declare what holds for a whole program. */
function docOf(node) {
  const docs = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc);
  const text = ts.getTextOfJSDocComment(docs.at(-1)?.comment) ?? "";
  return text
    .replace(/\{@link ([^}]+)\}/g, "`$1`")
    .replaceAll("```ts", "```text")
    .trim();
}

function oneLine(text) {
  return text.replace(/\s+/g, " ").trim();
}

function defaultOf(node) {
  const tag = ts.getJSDocTags(node).find(({ tagName }) => tagName.text === "default");
  return tag === undefined ? undefined : oneLine(ts.getTextOfJSDocComment(tag.comment) ?? "");
}

/** The text of a default, with a plain value at its beginning as code. */
function showDefault(text) {
  return text.replace(/^(?:"[^"]*"|\d+|true|false|\{.*\}|\[.*\])/, (value) => `\`${value}\``);
}

function cell(text) {
  return text.replaceAll("|", "\\|");
}

/** Code in which the names of public types are links to their descriptions. */
function showType(text, types) {
  const plain = oneLine(text.replace(/\/\*[^]*?\*\//g, ""))
    .replace(/ \| undefined\b/g, "")
    .replace(/\breadonly /g, "")
    .replace(/^\| /, "");
  if (plain.includes("`")) return `\`\` ${plain} \`\``;
  const parts = plain.split(/\b([A-Z]\w+)\b/);
  return parts
    .map((part) => (types.has(part) ? `[\`${part}\`](#${part.toLowerCase()})` : part === "" ? "" : `\`${part}\``))
    .join("")
    .replaceAll("``", "");
}

/** The members of a type, those of its bases that are not public included. */
function membersOf({ node, file }, types) {
  const own = node.members.filter((member) => member.name !== undefined && !ts.isPrivateIdentifier(member.name));
  let members = [];
  const bases = [];
  for (const { types: clauses } of node.heritageClauses ?? [])
    for (const clause of clauses) {
      const name = clause.expression.getText();
      const base = types.get(name) ?? inFileOf(file, name);
      if (base === undefined || ["Error", "TypeError", "Omit", "Pick"].includes(name) || types.has(name))
        bases.push(clause.getText());
      else members.push(...membersOf(base, types).members);
    }
  const names = own.map((member) => member.name.getText());
  members = members.filter((member) => !names.includes(member.name.getText()));
  for (const member of own) {
    const name = member.name.getText();
    const isHidden = member.modifiers?.some(({ kind }) =>
      [ts.SyntaxKind.PrivateKeyword, ts.SyntaxKind.ProtectedKeyword, ts.SyntaxKind.StaticKeyword].includes(kind),
    );
    if (isHidden !== true && !(ts.isClassDeclaration(node) && name === "name")) members.push(member);
  }
  return { members, bases };
}

/** A type that a file declares or imports. */
function inFileOf(file, name) {
  const [node] = declarationsOf(file, name);
  if (node !== undefined) return { name, node, file };
  for (const statement of parse(file).statements) {
    if (!ts.isImportDeclaration(statement)) continue;
    const bindings = statement.importClause?.namedBindings;
    if (bindings === undefined || !ts.isNamedImports(bindings)) continue;
    if (!bindings.elements.some((element) => element.name.text === name)) continue;
    const from = resolveImport(file, statement.moduleSpecifier.text);
    return from === undefined ? undefined : inFileOf(from, name);
  }
  return undefined;
}

function signatureOf(member) {
  const name = member.name.getText();
  const isCall = ts.isMethodSignature(member) || ts.isMethodDeclaration(member) || ts.isFunctionDeclaration(member);
  if (!isCall) return name;
  const parameters = member.parameters.map(
    (one) =>
      `${one.dotDotDotToken === undefined ? "" : "..."}${one.name.getText()}${one.questionToken || one.initializer ? "?" : ""}`,
  );
  return `${name}(${parameters.join(", ")})`;
}

function typeOf(member) {
  return member.type?.getText() ?? "";
}

function rowOf(type, member, types, hasDefaults) {
  const name = member.name.getText();
  const more = MORE[`${type.name}.${name}`];
  const doc = oneLine(docOf(member));
  const isOptional = member.questionToken !== undefined;
  const kind = showType(typeOf(member), types);
  const meaning = `${doc}${more === undefined ? "" : ` [More](${more})`}`;
  const value = defaultOf(member);
  const cells = [`\`${signatureOf(member)}\``, cell(kind), cell(meaning)];
  if (hasDefaults) cells.push(cell(value === undefined ? (isOptional ? "none" : "required") : showDefault(value)));
  return `| ${cells.join(" | ")} |`;
}

/** The description of one public type. */
function describe(type, types) {
  const { node } = type;
  const doc = docOf(node);
  const lines = doc === "" ? [] : [doc, ""];
  if (ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node)) {
    const { members, bases } = membersOf(type, types);
    if (bases.length > 0)
      lines.push(`With the members of ${bases.map((base) => showType(base, types)).join(" and ")}.`, "");
    if (members.length === 0) return lines.join("\n");
    const isOptions = members.some((member) => member.questionToken !== undefined && defaultOf(member) !== undefined);
    const head = ["member", "type", "meaning", ...(isOptions ? ["default"] : [])];
    lines.push(`| ${head.join(" | ")} |`, `|${head.map(() => "---|").join("")}`);
    lines.push(...members.map((member) => rowOf(type, member, types, isOptions)), "");
  } else if (ts.isTypeAliasDeclaration(node)) {
    lines.push(`${showType(node.type.getText(), types)}`, "");
  } else if (ts.isFunctionDeclaration(node)) {
    lines.push(`\`${signatureOf(node)}\` returns ${showType(typeOf(node), types)}.`, "");
  }
  return lines.join("\n");
}

/** The text between the comments of a block. */
export function blockOf(names, types = publicTypes()) {
  const described = names.map((name) => {
    const type = types.get(name);
    if (type === undefined) throw new Error(`${PAGE} names ${name}, which no package exports`);
    const body = describe(type, types).trimEnd();
    return `#### ${name}\n\n${body}`;
  });
  return `\n${described.join("\n\n")}\n\n`;
}

const block = /(<!-- reference: ([^>]+) -->\n)[^]*?(<!-- \/reference -->)/g;

/** The names of the types that the page describes. */
export function describedTypes(page = readFileSync(join(ROOT, PAGE), "utf8")) {
  return [...page.matchAll(block)].flatMap(([, , names]) => names.trim().split(/\s+/));
}

/** The page as it should be. */
export function makeReference(page = readFileSync(join(ROOT, PAGE), "utf8")) {
  const types = publicTypes();
  return page.replace(block, (_all, begin, names, end) => begin + blockOf(names.trim().split(/\s+/), types) + end);
}

/** Members of public types without a docstring, and public types without one. */
export function undescribed() {
  const types = publicTypes();
  return [...types.values()].flatMap((type) => {
    const { name, node } = type;
    const own = docOf(node) === "" ? [name] : [];
    if (!ts.isInterfaceDeclaration(node) && !ts.isClassDeclaration(node)) return own;
    const { members } = membersOf(type, types);
    return [...own, ...members.filter((one) => docOf(one) === "").map((one) => `${name}.${one.name.getText()}`)];
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(ROOT, PAGE), makeReference());
