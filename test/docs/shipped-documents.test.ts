import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import * as documentation from "../../packages/core/src/lib/documentation.js";
import { readDocument, root } from "./documents.js";

interface Shipping {
  readonly shippedDocuments: () => string[];
  readonly shippedText: (text: string, shipped: readonly string[]) => string;
}

const { shippedDocuments, shippedText } = (await import(
  pathToFileURL(join(root, "tools/ship-documents.mjs")).href
)) as Shipping;

// tools/packages.mjs looks into the tarball itself.
describe("the documents that are shipped with @portcullis/core", () => {
  const shipped = shippedDocuments();

  it("are those that messages name, and the guides for users", () => {
    for (const address of Object.values(documentation)) {
      const [, name = ""] = /^@portcullis\/core\/docs\/([\w-]+\.md)$/.exec(address) ?? [];
      expect(shipped).to.include(name);
    }
    expect(shipped).to.include.members(["reference.md", "getting-started.md", "security.md"]);
    expect(shipped).not.to.include("ARCHITECTURE.md");
  });

  it("lead to no file outside of the package", () => {
    for (const name of shipped) {
      const text = shippedText(readDocument(`docs/${name}`), shipped);
      const targets = Array.from(text.matchAll(/\]\(((?![a-z]+:)[^()\s#]+)/g), ([, target = ""]) => target);
      expect(
        targets.filter((target) => !shipped.includes(target)),
        name,
      ).to.deep.equal([]);
    }
  });

  it("keep the text of a link to a page that stays behind", () => {
    const text =
      "See [a](a.md#b), [the map](ARCHITECTURE.md), [x](../x.ts), [here](#here) and [jose](https://jose.example).";
    expect(shippedText(text, ["a.md"])).to.equal(
      "See [a](a.md#b), the map, x, [here](#here) and [jose](https://jose.example).",
    );
  });

  it("are files of the package by its manifest, written before it is packed", () => {
    const { files, scripts } = JSON.parse(readFileSync(join(root, "packages/core/package.json"), "utf8")) as {
      files: string[];
      scripts: Record<string, string>;
    };
    expect(files).to.include("docs");
    expect(scripts.prepack).to.equal("node ../../tools/ship-documents.mjs");
  });
});
