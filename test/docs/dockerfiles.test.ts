import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { root } from "./documents.js";

/** The long-term releases that get security fixes, until April 2027 and April 2028. */
const supported = [22, 24];

describe("the Dockerfiles of the examples", () => {
  for (const example of readdirSync(join(root, "examples"), { withFileTypes: true })) {
    if (!example.isDirectory()) continue;
    it(`build and run ${example.name} on a Node in support, the same in all stages, and not as root`, () => {
      const text = readFileSync(join(root, "examples", example.name, "Dockerfile"), "utf8");
      const images = [...text.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
      expect(new Set(images)).to.have.property("size", 1);
      const major = Number(/^node:(\d+)-alpine$/.exec(images[0] ?? "")?.[1]);
      expect(supported).to.include(major);
      expect(text).to.match(/^USER node$/m);
    });
  }
});
