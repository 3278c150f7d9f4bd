import { readFileSync, readdirSync } from "node:fs";
import { expect } from "chai";

const source = new URL("../../../packages/core/src/", import.meta.url);
const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));

describe("a command to Redis", () => {
  // The errors of a pipeline's commands are in its results, and it resolves even offline.
  for (const [what, pattern] of [
    ["pipeline", /\.pipeline\(|autoPipelin/],
    ["transaction", /\.multi\(|\.exec\(\)|["'](?:MULTI|EXEC)["']/i],
  ] as const) {
    it(`is never a ${what}, whose failed commands would go unread`, () => {
      expect(files).to.have.length.greaterThan(100);
      expect(files.filter((file) => pattern.test(readFileSync(new URL(file, source), "utf8")))).to.deep.equal([]);
    });
  }
});
