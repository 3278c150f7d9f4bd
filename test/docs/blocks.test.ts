import { expect } from "chai";
import { listDocuments, readDocument, snippetsOf } from "./documents.js";

describe("blocks of documents that are no programs", () => {
  const snippets = listDocuments().flatMap(snippetsOf);

  it("are JSON where they say so", () => {
    for (const { document, line, code } of snippets.filter(({ language }) => language === "json"))
      expect(() => JSON.parse(code) as unknown, `${document}:${line}`).not.to.throw();
  });

  it("run only scripts of npm that the repository, or an example, has", () => {
    const scripts = ["package.json", "examples/express-api/package.json"].flatMap((path) =>
      Object.keys((JSON.parse(readDocument(path)) as { scripts: object }).scripts),
    );
    const named = snippets
      .filter(({ language }) => language === "sh")
      .flatMap(({ code }) => Array.from(code.matchAll(/\bnpm (?:run )?([a-z][\w:-]*)/g), ([, name = ""]) => name));
    expect(named.length).to.be.greaterThan(5);
    const ofNpm = ["ci", "install", "pack", "audit", "login", "publish"];
    expect(named.filter((name) => ![...scripts, ...ofNpm].includes(name))).to.deep.equal([]);
  });
});
