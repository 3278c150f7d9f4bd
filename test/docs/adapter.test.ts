import { expect } from "chai";
import { readDocument, snippetsOf } from "./documents.js";

describe("the adapter in packages/core/README.md", () => {
  const code = readDocument("test/support/node-adapter.ts");

  it("is the adapter that the tests of the gate run on", () => {
    const [snippet] = snippetsOf("packages/core/README.md").filter(({ language }) => language === "ts");
    expect(`${snippet?.code}\n`).to.equal(code);
  });

  it("imports from this repository only modules that an external adapter can import", () => {
    const modules = Array.from(code.matchAll(/ from "([^"]+)";$/gm), ([, name]) => name);
    expect(new Set(modules)).to.deep.equal(new Set(["@portcullis/core", "@portcullis/core/adapter", "node:http"]));
    expect(code).to.match(/^import type .* from "@portcullis\/core";$/m);
  });
});
