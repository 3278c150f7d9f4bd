import { expect } from "chai";
import { unavailable } from "../../packages/core/src/http/verdict.js";
import { CacheTimeout, StoreFault } from "../../packages/core/src/index.js";
import { notRecorded } from "../../packages/core/src/routes/endpoint.js";
import { unavailableAnswer } from "../../packages/core/src/sessions/token-error.js";

describe("every answer for an outage", () => {
  const answers: Readonly<Record<string, { status: number; headers: object }>> = {
    "a refusal": unavailable("the store is away"),
    "a refusal for missing keys": unavailable("no keys", "keys_unavailable"),
    "a refusal for too many sign-ins": unavailable("too many", "capacity_exceeded"),
    "an error of the store": new StoreFault("timeout"),
    "an error of the cache": new CacheTimeout(5),
    "an answer of a token endpoint": unavailableAnswer(new StoreFault("timeout").headers),
    "an answer of a revocation endpoint": notRecorded(),
  };
  for (const [name, { status, headers }] of Object.entries(answers)) {
    it(`is 503 with Retry-After: 1: ${name}`, () => {
      expect(status).to.equal(503);
      const fields = new Headers(Array.isArray(headers) ? (headers as [string, string][]) : { ...headers });
      expect(fields.get("retry-after")).to.equal("1");
    });
  }

  it("is an answer of its own, which another one does not change", () => {
    const { headers } = new StoreFault("timeout");
    Object.assign(headers, { "Retry-After": "60" });
    expect(new StoreFault("timeout").headers).to.deep.equal({ "Retry-After": "1" });
  });
});
