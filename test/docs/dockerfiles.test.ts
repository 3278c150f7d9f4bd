import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { root } from "./documents.js";

/** The long-term release that gets security fixes until April 2028. */
const release = 24;

describe("the Dockerfiles of the examples", () => {
  for (const example of readdirSync(join(root, "examples"), { withFileTypes: true })) {
    if (!example.isDirectory()) continue;
    it(`build and run ${example.name} on Node ${release} in all stages, and not as root`, () => {
      const text = readFileSync(join(root, "examples", example.name, "Dockerfile"), "utf8");
      const images = [...text.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
      expect([...new Set(images)]).to.deep.equal([`node:${release}-alpine`]);
      expect(text).to.match(/^USER node$/m);
    });
  }
});
