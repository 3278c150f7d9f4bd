import { expect } from "chai";
import { readDocument, sectionOf } from "./documents.js";

describe("the declaration of claims in docs/authentication.md", () => {
  it("is the one that applications compile against the packed packages", () => {
    const code = /```text\n(declare module "@portcullis\/express" [^]*?)```/.exec(
      sectionOf("docs/authentication.md", "Types of your claims"),
    )?.[1];
    expect(code).to.match(/interface Register \{/);
    for (const framework of ["express", "koa"]) {
      const declaration = code?.replace("@portcullis/express", `@portcullis/${framework}`);
      expect(readDocument(`tools/consumers/${framework}/typed.ts`)).to.include(declaration);
    }
  });
});
