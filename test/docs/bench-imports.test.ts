import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import ts from "typescript";
import { root } from "./documents.js";

/** The names that a script takes from a module of this repository's packages. */
interface Import {
  readonly file: string;
  /** From the root, or the name of a package. */
  readonly module: string;
  readonly names: readonly string[];
}

describe("the scripts in bench/ and tools/", () => {
  const imports = ["bench", "tools"].flatMap(listScripts).flatMap((file) => importsOf(file, read(file)));

  it("import from packages at all", () => {
    expect(imports.length).to.be.greaterThan(10);
  });

  it("import only exports of the entries of packages", async () => {
    const wrong: string[] = [];
    for (const one of imports) wrong.push(...(await problemsOf(one)));
    expect(wrong).to.deep.equal([]);
  });

  it("would be found out if they did not", async () => {
    const code = `
      import { createFacts } from "../packages/core/dist/index.js";
      import { Breaker } from "../packages/core/dist/lib/breaker.js";
      const kit = await tsImport("../packages/testkit/src/index.ts", import.meta.url);
      const { signTokens } = await import("@portcullis/testkit");
      kit.startRedis(); kit.startSQL();`;
    const wrong = [];
    for (const one of importsOf("bench/wrong.mjs", code)) wrong.push(...(await problemsOf(one)));
    expect(wrong).to.deep.equal([
      "bench/wrong.mjs: packages/core/dist/index.js exports no createFacts",
      "bench/wrong.mjs: packages/core/dist/lib/breaker.js is no entry of a package",
      "bench/wrong.mjs: packages/testkit/src/index.ts exports no startSQL",
      "bench/wrong.mjs: @portcullis/testkit exports no signTokens",
    ]);
  });
});

function read(file: string): string {
  return readFileSync(join(root, file), "utf8");
}

function listScripts(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".mjs") && !/node_modules|consumers/.test(name))
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`);
}

/** Static imports, `await import(...)` and `await tsImport(...)`, with the names that are taken from them. */
function importsOf(file: string, code: string): Import[] {
  const source = ts.createSourceFile(file, code, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const found: Import[] = [];
  function add(specifier: ts.Node | undefined, names: readonly string[]): void {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return;
    const { text } = specifier;
    const module = text.startsWith(".") ? relative(root, join(root, dirname(file), text)).replaceAll("\\", "/") : text;
    if (/^(packages\/|@portcullis\/)/.test(module)) found.push({ file, module, names });
  }
  function visit(node: ts.Node): void {
    if (ts.isImportDeclaration(node)) {
      const bindings = node.importClause?.namedBindings;
      const elements = bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements : [];
      add(
        node.moduleSpecifier,
        elements.map(({ name, propertyName }) => (propertyName ?? name).text),
      );
    } else if (
      ts.isVariableDeclaration(node) &&
      node.initializer !== undefined &&
      ts.isAwaitExpression(node.initializer)
    ) {
      const call = node.initializer.expression;
      if (ts.isCallExpression(call) && /^(import|tsImport)$/.test(call.expression.getText()))
        add(call.arguments[0], namesOf(node.name, code));
    }
    ts.forEachChild(node, visit);
  }
  visit(source);
  return found;
}

function namesOf(name: ts.BindingName, code: string): string[] {
  if (ts.isIdentifier(name))
    return Array.from(code.matchAll(new RegExp(`\\b${name.text}\\.(\\w+)`, "g")), ([, member = ""]) => member);
  if (ts.isArrayBindingPattern(name)) return [];
  return name.elements.map((element) => (element.propertyName ?? element.name).getText());
}

async function problemsOf({ file, module, names }: Import): Promise<string[]> {
  const source = sourceOf(module);
  if (source === undefined) return [`${file}: ${module} is no entry of a package`];
  const exported = Object.keys((await import(source)) as object);
  return names.filter((name) => !exported.includes(name)).map((name) => `${file}: ${module} exports no ${name}`);
}

/** The source of an entry. The testkit is private and has no build, so that its files are entries too. */
function sourceOf(module: string): string | undefined {
  if (module.startsWith("@portcullis/")) return module;
  const [, folder = ""] = module.split("/");
  const path = module.slice(`packages/${folder}/`.length);
  const { exports, private: isPrivate } = JSON.parse(read(`packages/${folder}/package.json`)) as {
    exports: Record<string, { "@portcullis/source"?: string; default?: string }>;
    private?: boolean;
  };
  const entry = Object.values(exports).find((one) => one.default === `./${path}`);
  const source = entry?.["@portcullis/source"] ?? (isPrivate === true ? path : undefined);
  return source === undefined ? undefined : pathToFileURL(join(root, "packages", folder, source)).href;
}
