import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { root } from "./documents.js";

const vague = /^\s*(What|Whoever|Whom|Who|Of|Told|Those|Where it)\b/;

/** The docstrings of a file that begin with a vague word, by their lines. */
function findVague(text: string): string[] {
  return Array.from(text.matchAll(/\/\*\*\s*(?:\*\s)?([^]*?)\*\//g))
    .filter(([, words = ""]) => vague.test(words))
    .map((match) => `${text.slice(0, match.index).split("\n").length}: ${match[1]?.split("\n")[0]?.trim()}`);
}

describe("the docstrings of packages", () => {
  const files = readdirSync(join(root, "packages"), { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => /^[a-z]+\/src\/.*\.ts$/.test(file));

  it("are found out where they begin with a vague word", () => {
    const text =
      "/** What it is. */\n/**\n * Whoever asks.\n */\n/** Whatever. */\n/** Offers. */\n/** Where it is. */";
    expect(findVague(text)).to.deep.equal(["1: What it is.", "2: Whoever asks.", "7: Where it is."]);
  });

  it("begin with the name of a thing", () => {
    const found = files.flatMap((file) =>
      findVague(readFileSync(join(root, "packages", file), "utf8")).map((text) => `${file}:${text}`),
    );
    expect(found).to.deep.equal([]);
  });
});
