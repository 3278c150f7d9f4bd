import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import ts from "typescript";
import type { Snippet } from "./documents.js";
import { listDocuments, root, snippetsOf } from "./documents.js";

const application = `
  declare function findOrders(subject: string | undefined): Promise<{ id: string }[]>;
  declare function loadRates(): Promise<{ eur: number }>;`;
const express = `
  import express from "express";
  import type { Request, Response } from "express";
  import { portcullis } from "@portcullis/express";
  import type { ExpressGate } from "@portcullis/express";`;
const koa = `
  import Koa from "koa";
  import { portcullis } from "@portcullis/koa";
  import type { KoaGate } from "@portcullis/koa";`;
/**
 * What a fragment may rely on, by the name in the comment `<!-- snippet: name -->` before it. A snippet without such a
 * comment is a complete file.
 */
const preludes: Readonly<Record<string, string>> = {
  /** An Express application, perhaps to make a gate for. */
  express: `${express} const app = express();`,
  /** An Express application with a gate. */
  "express-gate": `${express} ${application} const app = express(); declare const gate: ExpressGate;`,
  /** Inside a handler. */
  "express-handler": `${express} ${application} declare const req: Request; declare const res: Response;`,
  /** Koa; the snippet makes the application or the gate. */
  koa,
  /** A page. The types of Node have no DOM. */
  browser: `
  declare const location: { reload(): void };
  declare class EventSource {
    static readonly CLOSED: 2;
    readonly readyState: 0 | 1 | 2;
    constructor(url: string);
    addEventListener(type: string, listener: (event: { data: string; lastEventId: string }) => void): void;
  }`,
  /** A page with a client of Socket.IO. */
  "socket-client": `
  import type { Socket } from "socket.io-client";
  declare const socket: Socket;
  declare function refreshToken(): Promise<string>;
  declare function showSignIn(): void;`,
  /** An application with a gate and a Socket.IO server. */
  "socket-server": `${express}
  import { secure } from "@portcullis/socket.io";
  import type { Server } from "socket.io";
  declare const gate: ExpressGate; declare const io: Server;`,
  /** A Koa application with a gate. */
  "koa-gate": `${koa} ${application} const app = new Koa(); declare const gate: KoaGate;`,
};

/** Languages of blocks that are not checked here. A block without a language would go unnoticed. */
const others = ["sh", "http", "json", "text", "mermaid"];

describe("every snippet in the documents", function () {
  this.timeout(180_000);

  const documents = listDocuments();
  const snippets = documents.flatMap(snippetsOf);
  const ofPlatforms = snippets.filter(({ platform }) => platform !== undefined);
  const checked = snippets.filter(
    ({ language, platform }) => (language === "ts" || language === "js") && platform === undefined,
  );
  let problems: ReadonlyMap<string, readonly string[]>;

  before(() => {
    problems = typeCheck([...checked, wrong]);
  });

  it("says its language, and names only preludes that exist", () => {
    const unknown = snippets.filter(({ language }) => !["ts", "js", ...others].includes(language));
    expect(unknown.map(placeOf)).to.deep.equal([]);
    const lost = snippets.filter(({ prelude }) => prelude !== undefined && !(prelude in preludes));
    expect(lost.map(placeOf)).to.deep.equal([]);
  });

  it("of a platform is part of the file that is compiled and run there", () => {
    const changed = ofPlatforms.filter(({ platform, code }) => {
      const path = join(root, "platforms", platform ?? "");
      return !existsSync(path) || !readFileSync(path, "utf8").includes(code);
    });
    expect(changed.map(placeOf)).to.deep.equal([]);
    expect(ofPlatforms).not.to.be.empty;
  });

  it("would be found out if it were wrong", () => {
    expect(problems.get(wrong.document)).to.have.length(1);
    expect(problems.get(wrong.document)?.[0]).to.match(/^wrong\.md:12: .*'redsi'/s);
  });

  it("imports only what there is, under options that the compiler knows", () => {
    const elsewhere = [...problems].filter(([place]) => place !== wrong.document && !documents.includes(place));
    expect(elsewhere).to.deep.equal([]);
  });

  for (const document of documents) {
    if (!checked.some((snippet) => snippet.document === document)) continue;
    it(`${document}: type-checks under the strictest options`, () => {
      expect(problems.get(document) ?? []).to.deep.equal([]);
    });
  }
});

/** Proves that the checker checks, and counts lines. */
const wrong: Snippet = {
  document: "wrong.md",
  line: 11,
  language: "ts",
  prelude: "express",
  platform: undefined,
  code: '// a mistyped option\nconst gate = portcullis({ redsi: "memory" });',
};

function placeOf({ document, line }: Snippet): string {
  return `${document}:${line}`;
}

/** Type-checks all snippets in one program. Returns what is wrong by document, with the line in it. */
function typeCheck(snippets: readonly Snippet[]): Map<string, string[]> {
  const files = new Map(snippets.map((snippet) => [virtualPath(snippet), asFile(snippet)]));
  const options = readOptions();
  const host = ts.createCompilerHost(options);
  const disk = { ...host };
  host.fileExists = (path) => files.has(path) || disk.fileExists(path);
  host.readFile = (path) => files.get(path)?.text ?? disk.readFile(path);
  host.getSourceFile = (path, languageVersion, ...rest) => {
    const file = files.get(path);
    // Types of a library ask for those of browsers, which a server does not have.
    if (path.endsWith("/lib.dom.d.ts")) return ts.createSourceFile(path, "", languageVersion);
    return file === undefined
      ? disk.getSourceFile(path, languageVersion, ...rest)
      : ts.createSourceFile(path, file.text, languageVersion);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  const problems = new Map<string, string[]>();
  // `npm run typecheck` checks the code that they import.
  const found = [...files.keys()].flatMap((path) => ts.getPreEmitDiagnostics(program, program.getSourceFile(path)));
  for (const diagnostic of new Set(found)) {
    const { document, text } = describeDiagnostic(diagnostic, files);
    problems.set(document, [...(problems.get(document) ?? []), text]);
  }
  return problems;
}

interface VirtualFile {
  readonly snippet: Snippet;
  readonly text: string;
}

/** Beside the tests, so that imports resolve as they do there. */
function virtualPath({ document, line, language }: Snippet): string {
  return `${root}test/docs/.snippets/${document}/${line}.${language}`;
}

/** The prelude stands in the first line, so that all others keep their numbers, one off. */
function asFile(snippet: Snippet): VirtualFile {
  const prelude = snippet.prelude === undefined ? "" : (preludes[snippet.prelude] ?? "");
  return { snippet, text: `${prelude.replaceAll("\n", " ")}\n${snippet.code}\n` };
}

function readOptions(): ts.CompilerOptions {
  const path = `${root}tsconfig.base.json`;
  const { config, error } = ts.readConfigFile(path, (name) => ts.sys.readFile(name)) as {
    config: { compilerOptions: object };
    error?: ts.Diagnostic;
  };
  if (error !== undefined) throw new Error(ts.flattenDiagnosticMessageText(error.messageText, "\n"));
  const compilerOptions = {
    ...config.compilerOptions,
    noEmit: true,
    allowJs: true,
    checkJs: true,
    moduleDetection: "force",
    customConditions: ["@portcullis/source"],
  };
  const { options, errors } = ts.convertCompilerOptionsFromJson(compilerOptions, root);
  expect(errors).to.deep.equal([]);
  return options;
}

function describeDiagnostic(
  { file, start = 0, messageText }: ts.Diagnostic,
  files: ReadonlyMap<string, VirtualFile>,
): { document: string; text: string } {
  const message = ts.flattenDiagnosticMessageText(messageText, "\n");
  const snippet = file === undefined ? undefined : files.get(file.fileName)?.snippet;
  if (file === undefined || snippet === undefined) return { document: file?.fileName ?? "", text: message };
  const line = snippet.line + file.getLineAndCharacterOfPosition(start).line - 1;
  return { document: snippet.document, text: `${snippet.document}:${line}: ${message}` };
}
