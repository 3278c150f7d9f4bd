import { expect } from "chai";
import { listDocuments, proseOf, readDocument } from "./documents.js";
import { anchorsOf, fileOf, leadsSomewhere, linksIn, linksOf } from "./links.js";

const documents = listDocuments();
const pages = documents.filter((document) => document.startsWith("docs/"));
const index = "docs/README.md";
/** For language models (llmstxt.org). */
const llms = "llms.txt";

describe("links", () => {
  for (const document of [...documents, llms]) {
    it(`of ${document} lead to files and headings that exist`, () => {
      expect(linksOf(document).filter((target) => !leadsSomewhere(document, target))).to.deep.equal([]);
    });
  }

  it("can name each heading, since no document has two equal headings", () => {
    for (const document of documents) {
      const anchors = anchorsOf(document);
      expect(anchors, document).to.have.length(new Set(anchors).size);
    }
  });

  it("would be found out if they led nowhere", () => {
    for (const target of ["nowhere.md", "#nowhere", "README.md#nowhere"])
      expect(leadsSomewhere(index, target), target).to.equal(false);
    expect(leadsSomewhere(index, "security.md#guarantees")).to.equal(true);
  });

  it("lead from the README to every page of docs within two clicks", () => {
    const first = linksOf("README.md").map((target) => fileOf("README.md", target));
    const second = first
      .filter((file) => documents.includes(file))
      .flatMap((file) => linksOf(file).map((target) => fileOf(file, target)));
    const near = new Set([...first, ...second]);
    expect(pages.filter((page) => !near.has(page))).to.deep.equal([]);
  });
});

describe("the index in docs/README.md", () => {
  const rows = proseOf(index).filter((line) => /^\| /.test(line) && !/^\| \S+(?: \S+)? \| read \|$/.test(line));

  it("has every page of docs", () => {
    const named = new Set(linksOf(index).map((target) => fileOf(index, target)));
    expect(pages.filter((page) => page !== index && !named.has(page))).to.deep.equal([]);
  });

  it("has one link for each task, which differs from every other task", () => {
    expect(rows.length).to.be.greaterThan(60);
    expect(rows.filter((row) => linksIn(row).length !== 1)).to.deep.equal([]);
    const tasks = rows.map((row) => row.split("|")[1]?.trim());
    expect(new Set(tasks).size).to.equal(tasks.length);
  });

  it("answers the questions that people come with", () => {
    const questions = [
      "verify tokens of your provider",
      "log out everywhere",
      "limit by plan",
      "cache per user",
      "survive an outage",
      "run on ElastiCache",
      "why is this token refused?",
      "express-rate-limit",
      "express-jwt",
    ];
    for (const question of questions)
      expect(
        rows.some((row) => row.includes(question)),
        question,
      ).to.equal(true);
  });
});

describe("llms.txt", () => {
  const lines = readDocument(llms).split("\n");

  it("has the form of llmstxt.org: a title, a summary, details, and lists of links with what is there", () => {
    expect(lines[0]).to.equal("# Portcullis");
    expect(lines.find((line, at) => at > 0 && line !== "")).to.match(/^> \S/);
    const first = lines.findIndex((line) => line.startsWith("## "));
    expect(lines.slice(1, first).filter((line) => line.startsWith("#"))).to.deep.equal([]);
    const rest = lines.slice(first).filter((line) => line !== "");
    expect(
      rest.filter((line) => !/^## \S/.test(line) && !/^- \[[^\]]+\]\([^()\s]+\)(?:: \S|, \S)/.test(line)),
    ).to.deep.equal([]);
    expect(lines).to.include("## Optional");
  });

  it("has every page of docs", () => {
    const named = new Set(linksOf(llms).map((target) => fileOf(llms, target)));
    expect(pages.filter((page) => !named.has(page))).to.deep.equal([]);
  });
});
