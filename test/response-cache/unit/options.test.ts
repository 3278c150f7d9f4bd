import { expect } from "chai";
import { resolveResponseCache } from "../../../packages/core/src/response-cache/options.js";
import { rejectionOf } from "../../support/rejection.js";
import { openGate } from "../../support/fake-gate.js";

describe("the options of cacheResponse()", () => {
  it("have safe defaults, and undefined is absent", () => {
    const names = [
      "ttl",
      "per",
      "tags",
      "partition",
      "skip",
      "query",
      "staleWhileRevalidate",
      "staleIfError",
      "wait",
      "maxSize",
      "etag",
      "requestDirectives",
      "cacheStatus",
      "credentials",
    ];
    const absent = Object.fromEntries(names.map((name) => [name, undefined]));
    expect(resolveResponseCache(absent)).to.deep.equal(resolveResponseCache({}));
    expect(resolveResponseCache({})).to.deep.include({
      ttlSeconds: undefined,
      per: "everyone",
      waitMs: 5000,
      maxSize: 2 ** 20,
      etag: "weak",
      honoursRequests: true,
    });
    const none = { only: undefined, sort: undefined, add: undefined, except: undefined };
    const { only, sort, add, except } = none;
    expect(resolveResponseCache({ query: { only, sort }, credentials: { add, except } })).to.deep.equal(
      resolveResponseCache({}),
    );
    expect(resolveResponseCache({ wait: false, ttl: "1m", staleIfError: 500 })).to.deep.include({
      waitMs: 0,
      ttlSeconds: 60,
      staleIfErrorSeconds: 0.5,
    });
  });

  const wrong: [object, typeof TypeError | typeof RangeError, RegExp][] = [
    [{ tll: "1m" }, TypeError, /did you mean ttl/],
    [{ ttl: 0 }, RangeError, /cacheResponse\(\)\.ttl/],
    [{ ttl: "1 minute" }, RangeError, /cacheResponse\(\)\.ttl/],
    [{ per: "ip" }, TypeError, /"everyone", "user"/],
    [{ tags: "orders" }, TypeError, /a list such as \["orders"\]/],
    [{ tags: [1] }, TypeError, /cacheResponse\(\)\.tags/],
    [{ tags: [""] }, TypeError, /cacheResponse\(\)\.tags/],
    [{ partition: "tenant" }, TypeError, /must be a function/],
    [{ skip: true }, TypeError, /must be a function/],
    [{ query: [2] }, TypeError, /cacheResponse\(\)\.query/],
    [{ query: "page" }, TypeError, /a list such as \["page"\], or \{ only, sort \}/],
    [{ query: { only: "page" } }, TypeError, /query\.only must be a list such as/],
    [{ query: { sorted: true } }, TypeError, /did you mean sort/],
    [{ query: { sort: "name" } }, TypeError, /query\.sort must be true or false/],
    [{ credentials: ["x-staff"] }, TypeError, /credentials must be an object/],
    [{ credentials: { add: "x-staff" } }, TypeError, /a list such as \["X-Staff-Id"\]/],
    [{ credentials: { add: ["x staff"] } }, TypeError, /names of headers/],
    [{ credentials: { add: ["X-Staff"], except: ["x-staff"] } }, TypeError, /write it in one of them/],
    [{ credentials: { except: ["Authorization"] } }, TypeError, /set public or s-maxage on the response/],
    [{ credentials: { except: ["cookie"] } }, TypeError, /set public or s-maxage on the response/],
    [{ wait: true }, TypeError, /cacheResponse\(\)\.wait/],
    [{ maxSize: 0 }, RangeError, /from 1 to/],
    [{ maxSize: "1mb" }, TypeError, /whole number/],
    [{ etag: "md5" }, TypeError, /"weak", "strong"/],
    [{ requestDirectives: false }, TypeError, /"honour", "ignore"/],
    [{ cacheStatus: "my cache" }, TypeError, /a name such as/],
    [{ cacheStatus: "a\r\nb" }, TypeError, /a name such as/],
    [{ staleWhileRevalidate: -1 }, RangeError, /staleWhileRevalidate/],
  ];
  for (const [options, kind, message] of wrong) {
    it(`refuse ${JSON.stringify(options)} with an error that shows the correct form`, () => {
      expect(() => resolveResponseCache(options)).to.throw(kind, message);
    });
  }

  it("are checked by the gate at once, and so are the arguments of purges", async () => {
    const gate = openGate({});
    expect(() => gate.cacheResponse({ ttl: "soon" as never })).to.throw(RangeError);
    for (const attempt of [
      gate.responses.purge(""),
      gate.responses.purge(1 as never),
      gate.responses.purgePath("orders"),
    ])
      expect(await rejectionOf(attempt)).to.be.instanceOf(TypeError);
    await gate.close();
  });
});
