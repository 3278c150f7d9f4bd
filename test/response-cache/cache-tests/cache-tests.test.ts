import { expect } from "chai";
import { describeOnEveryGate } from "../../support/every-gate.js";
import { readDocument, sectionOf } from "../../docs/documents.js";
import { age, cacheControl, expires, heuristics } from "./freshness.js";
import { credentials, invalidation, others } from "./other.js";
import { conditions, requestDirectives, vary } from "./requests.js";
import { headers, responseDirectives, stale, statuses } from "./responses.js";
import { runCases } from "./run.js";

const groups = {
  "Cache-Control and its freshness": cacheControl,
  Age: age,
  Expires: expires,
  "the absence of heuristics": heuristics,
  "directives of responses": responseDirectives,
  "what is stale": stale,
  "status codes": statuses,
  "fields to keep": headers,
  "directives of requests": requestDirectives,
  Vary: vary,
  conditions: conditions,
  invalidation: invalidation,
  credentials: credentials,
  "all the rest": others,
};

describeOnEveryGate("the behaviours of http-tests/cache-tests", (start) => {
  for (const [name, cases] of Object.entries(groups)) {
    it(`${name}: ${cases.length} cases`, () => runCases(start, cases));
  }
});

describe("docs/response-cache.md on http-tests/cache-tests", () => {
  it("names every case once", () => {
    const ids = Object.values(groups).flatMap((cases) => cases.map(({ id }) => id));
    expect(new Set(ids).size).to.equal(ids.length);
    const text = sectionOf("docs/response-cache.md", "http-tests/cache-tests");
    expect(ids.filter((id) => !text.includes(`\`${id}\``))).to.deep.equal([]);
    expect(readDocument("docs/response-cache.md")).to.include(`${ids.length} of them`);
  });
});
