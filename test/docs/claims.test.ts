import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { CacheTimeout } from "@portcullis/core";
import ts from "typescript";
import type { DenialCode } from "@portcullis/core";
import { deny } from "../../packages/core/src/http/verdict.js";
import { readDocument, root, sectionOf } from "./documents.js";

const core = "packages/core/src";
const reference = "docs/reference.md";

describe("what the documents claim", () => {
  describe("docs/errors.md", () => {
    const codes = membersOfUnion(`${core}/http/verdict.ts`, "DenialCode") as DenialCode[];

    it("has one heading for each code, in the order of the table, and for each other error", () => {
      const headings = readDocument("docs/errors.md").match(/^## .*$/gm);
      const thrown = ["cache_timeout", "cache_value_too_large", "option_invalid"];
      expect(headings).to.deep.equal([...codes, ...thrown].map((code) => `## ${code}`));
      expect(sectionOf("docs/errors.md", "cache_timeout")).to.include(`**Status:** ${new CacheTimeout(1).status},`);
    });

    for (const code of codes) {
      it(`tells the status of ${code}`, () => {
        const { status } = deny(code, { cause: "a test" });
        expect(sectionOf("docs/errors.md", code)).to.match(new RegExp(`^\\*\\*Status:\\*\\* ${status}(,|$)`, "m"));
      });
    }

    it("names the problem type of each code that has a registered one", () => {
      const types = codes.map((code) => [code, deny(code, { cause: "a test" }).problem.type] as const);
      const registered = types.filter(([, type]) => type !== "about:blank");
      expect(registered).not.to.be.empty;
      for (const [code, type] of registered) {
        expect(type).to.match(/^https:\/\/iana\.org\/assignments\/http-problem-types#/);
        expect(sectionOf("docs/errors.md", code)).to.include(type);
      }
    });
  });

  describe("docs/reference.md", () => {
    const tables = [
      { heading: "Options of portcullis()", file: "options.ts", type: "PortcullisOptions" },
      { heading: "Options of auth", file: "auth/options.ts", type: "AuthOptions" },
      { heading: "Options of a limit", file: "limits/options.ts", type: "LimitOptions" },
      { heading: "The gate", file: "gate-types.ts", type: "Gate" },
    ];

    for (const { heading, file, type } of tables) {
      it(`lists every member of ${type} under "${heading}", and no other`, () => {
        const rows = sectionOf(reference, heading).matchAll(/^\| `(\w+)/gm);
        // What every adapter adds to the gate, which knows no application.
        const added = type === "Gate" ? membersOfInterface(`${core}/http/serving.ts`, "Serving") : [];
        // A method with two signatures has two rows.
        expect([...new Set(Array.from(rows, ([, name]) => name))]).to.have.members([
          ...membersOfInterface(`${core}/${file}`, type),
          ...added,
        ]);
      });
    }

    for (const { heading, file, type } of tables.slice(0, 3)) {
      it(`tells the defaults of ${type}, as far as they are plain values`, () => {
        const defaults = defaultsOfInterface(`${core}/${file}`, type);
        expect(defaults).not.to.be.empty;
        for (const [name, value] of defaults) {
          const row = new RegExp(`^\\| \`${name}\` .*$`, "m").exec(sectionOf(reference, heading))?.[0];
          expect(row?.split("|").at(-2)).to.include(`\`${value}\``);
        }
      });
    }

    const facts = [
      { row: "req.auth", file: "auth/claims.ts", type: "Auth" },
      { row: "req.cache", file: "cache/cache-types.ts", type: "RequestCache" },
      { row: "req.quotas", file: "http/quota.ts", type: "Quota" },
      { row: "req.loginAttempt", file: "login/attempt.ts", type: "LoginAttempt" },
    ];

    for (const { row, file, type } of facts) {
      it(`lists every member of ${type} in the row of ${row}, and no other`, () => {
        const text =
          sectionOf(reference, "Facts for handlers").match(new RegExp(`^\\| \`${row}\` .*$`, "m"))?.[0] ?? "";
        const names = Array.from(text.split("|")[3]?.matchAll(/`(\w+)(?:\(\w*\))?`/g) ?? [], ([, name]) => name);
        expect(names).to.have.members(membersOfInterface(`${core}/${file}`, type));
      });
    }

    it("names every code that a request may get, with its status", () => {
      const rows = sectionOf(reference, "Answers to requests").matchAll(/^\|[^|]*\| (\d+) \| \[`(\w+)`\]/gm);
      const listed = Array.from(rows, ([, status, code]) => `${code ?? ""} ${status ?? ""}`);
      const codes = membersOfUnion(`${core}/http/verdict.ts`, "DenialCode") as DenialCode[];
      expect(listed).to.have.members(codes.map((code) => `${code} ${deny(code, { cause: "a test" }).status}`));
    });
  });

  it("list every option of throttleLogin() in docs/login.md, and no other", () => {
    const rows = sectionOf("docs/login.md", "Options of throttleLogin()").matchAll(/^\| `(\w+)/gm);
    const members = membersOfInterface(`${core}/login/options.ts`, "ThrottleLoginOptions");
    expect(Array.from(rows, ([, name]) => name)).to.have.members([...members, "onDeny"]);
  });

  describe("the examples", () => {
    for (const file of ["main.ts", "users.ts", "tokens.ts", "orders.ts", "problems.ts", "page.ts", "live.ts", "mail.ts"]
      .map(inSource)
      .concat(["index.html", "app.css", "app.js", "confirm.html", "confirm.js"].map((name) => `public/${name}`))) {
      it(`share ${file}, so that they do the same`, () => {
        const [express, koa] = ["express", "koa"].map((name) =>
          readDocument(`examples/${name}-api/${file}`).replaceAll(`@portcullis/${name}`, "@portcullis/adapter"),
        );
        expect(koa).to.equal(express);
      });
    }
  });

  it("are written in ASCII, like every text file", () => {
    expect(listFiles().flatMap(linesBeyondAscii)).to.deep.equal([]);
  });
});

function inSource(name: string): string {
  return `src/${name}`;
}

function parse(path: string): ts.SourceFile {
  return ts.createSourceFile(path, readDocument(path), ts.ScriptTarget.Latest, true);
}

function findInterface(path: string, name: string): ts.InterfaceDeclaration {
  const found = parse(path)
    .statements.filter(ts.isInterfaceDeclaration)
    .find((statement) => statement.name.text === name);
  if (found === undefined) throw new Error(`${path} declares no interface ${name}`);
  return found;
}

/** The files of interfaces that others extend. */
const bases: Readonly<Record<string, string>> = { IssuerSettings: `${core}/auth/issuer-options.ts` };

function fileOf(name: string): string {
  const file = bases[name];
  if (file === undefined) throw new Error(`say in bases where ${name} is`);
  return file;
}

function membersOfInterface(path: string, name: string): string[] {
  const { heritageClauses = [], members } = findInterface(path, name);
  const inherited = heritageClauses.flatMap(({ types }) => types.map((type) => type.getText()));
  // Quota repeats the members that it inherits. The file of any other base must be named here.
  const others = inherited.filter((base) => !["RateLimitItem", "DenyOptions"].includes(base));
  return [...new Set([...members.map(nameOf), ...others.flatMap((base) => membersOfInterface(fileOf(base), base))])];
}

/** What `@default` says of each member, where that is a number, a text, a boolean or an object. */
function defaultsOfInterface(path: string, name: string): [name: string, value: string][] {
  return findInterface(path, name).members.flatMap((member) => {
    const tag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === "default");
    const value = /^(?:"[^"]+"|\d+|true|false|\{.*\})/.exec(ts.getTextOfJSDocComment(tag?.comment) ?? "")?.[0];
    return value === undefined ? [] : [[nameOf(member), value]];
  });
}

function nameOf({ name }: ts.TypeElement): string {
  return name?.getText() ?? "";
}

function membersOfUnion(path: string, name: string): string[] {
  const source = parse(path);
  const found = source.statements.filter(ts.isTypeAliasDeclaration).find((statement) => statement.name.text === name);
  if (found === undefined || !ts.isUnionTypeNode(found.type)) throw new Error(`${path} declares no union ${name}`);
  return found.type.types.map((type) => type.getText(source).slice(1, -1));
}

/** What git tracks, and what it would if everything were added. */
function listFiles(): string[] {
  const words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  // In a container the repository may belong to another user.
  const listing = execFileSync("git", ["-c", "safe.directory=*", ...words], { cwd: root, encoding: "utf8" });
  const paths = listing.split("\0").filter((path) => path !== "" && existsSync(join(root, path)));
  expect(paths).to.include("README.md");
  return [...new Set(paths)];
}

function linesBeyondAscii(path: string): string[] {
  const bytes = readFileSync(join(root, path));
  if (bytes.includes(0)) return [];
  const lines = bytes.toString("latin1").split("\n");
  return lines.flatMap((line, index) => (/^[\t\r\x20-\x7e]*$/.test(line) ? [] : [`${path}:${index + 1}`]));
}
