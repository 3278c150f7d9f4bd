import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { root } from "./documents.js";

const [express, koa] = ["express-api", "koa-api"].map((name) => join(root, "examples", name)) as [string, string];
/** What has nothing to do with the framework. */
const shared = [
  ...readdirSync(join(express, "public")).map((name) => `public/${name}`),
  ...["mail", "main", "orders", "page", "problems", "redis-switch", "tokens", "users"].map((name) => `src/${name}.ts`),
];

describe("the two examples", () => {
  for (const file of shared)
    it(`have the same ${file}`, () => {
      expect(readFileSync(join(koa, file), "utf8")).to.equal(readFileSync(join(express, file), "utf8"));
    });

  it("have the same files for the page", () => {
    expect(readdirSync(join(koa, "public"))).to.deep.equal(readdirSync(join(express, "public")));
  });

  it("style no element by itself, which the content security policy forbids", () => {
    const pages = shared.filter((file) => file.endsWith(".html"));
    expect(pages.length).to.equal(2);
    for (const file of pages) {
      const text = readFileSync(join(express, file), "utf8");
      expect(text).to.not.match(/\sstyle=|<style|<script(?![^>]*\ssrc=)|\son\w+=/);
    }
  });
});
