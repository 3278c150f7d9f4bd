import { posix } from "node:path";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { compileCondition } from "../../packages/core/src/http/path.js";
import type { RouteCondition } from "../../packages/core/src/http/path.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";
import { doubtful, odd } from "./support/paths.js";

function matches(condition: RouteCondition, url: string, method = "GET"): boolean {
  return compileCondition("unless()", condition)(fakeExchange({ url, method }));
}

/** Every kind of condition by which somebody may free what is under /public from the gate. */
const freeing: readonly RouteCondition[] = [
  { path: "/public/*" },
  { path: "/public/admin" },
  { path: ["/health", "/public/*"] },
  { path: /^\/public\// },
  { path: /public/ },
  { path: /^\/.*$/ },
  { path: /[^]*/s },
  { path: "/*" },
  { path: "/public/*", method: "GET" },
];

describe("a path that could mean two things", () => {
  for (const path of [...odd, ...doubtful]) {
    it(`${JSON.stringify(path)} frees from no check`, () => {
      for (const condition of freeing) expect(matches(condition, path), String(condition.path)).to.be.false;
    });
  }

  it("frees from no check wherever the odd piece stands, and however often", () => {
    const piece = fc.constantFrom("//", "/./", "/../", "/..", "/.", "\\", "%2f", "%2F", "%2e", "%2E", "%5c", "%5C");
    const plain = fc.array(fc.constantFrom("public", "admin", "a", "%61", "a.b", "..a", "a..", "~", ";x=1"), {
      maxLength: 4,
    });
    fc.assert(
      fc.property(plain, piece, plain, fc.constantFrom(...freeing), (before, odds, after, condition) => {
        const joint = odds === "/.." || odds === "/." ? (after.length > 0 ? "/" : "") : "";
        const url = `/${["public", ...before].join("/")}${odds}${joint}${after.join("/")}`;
        return !matches(condition, url);
      }),
      { numRuns: 2000 },
    );
  });

  it("is never taken for one below a free path if any reading of it leads elsewhere", () => {
    const segment = fc.constantFrom(
      "public",
      "admin",
      "..",
      ".",
      "",
      "%2e%2e",
      "%2E.",
      ".%2e",
      "%2e",
      "a%2fb",
      "..%2f",
      "\\",
      "..\\",
      "%5c",
      "a",
      "%61dmin",
      ";",
      "..;",
      "...",
      "a?",
      "?",
      "#",
      "public?x=/..",
      "\u00e9",
    );
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 6 }), fc.constantFrom("/", ""), (segments, start) => {
        const url = start + segments.join("/");
        if (!matches({ path: "/public/*" }, url)) return;
        for (const reading of readings(url))
          expect(reading, url).to.satisfy((path: string) => path.startsWith("/public/"));
      }),
      { numRuns: 5000 },
    );
  });
});

/** As WHATWG's URL reads it, as a router after decoding, as a file server after decoding and resolving. */
function readings(url: string): string[] {
  const path = url.replace(/[?#].*$/s, "");
  const decoded = decodeURIComponent(path);
  return [
    new URL(url, "http://host.test").pathname,
    path,
    decoded,
    posix.normalize(decoded),
    posix.normalize(decoded.replaceAll("\\", "/")),
  ];
}

describe("a condition", () => {
  it("by an exact path means that path alone, whatever the query", () => {
    for (const url of ["/health", "/health?", "/health?a=b", "/health?#x", "/health?a=/../x&b=//", "/health?%2e%2e"])
      expect(matches({ path: "/health" }, url), url).to.be.true;
    for (const url of [
      "/health/",
      "/Health",
      "/HEALTH",
      "/healthz",
      "/health/x",
      "/%68ealth",
      "/health;x",
      "/health%00",
      "/health ",
      "/health\u00a0",
      "/health#x",
      "/healt",
      "/",
    ]) {
      expect(matches({ path: "/health" }, url), url).to.be.false;
    }
  });

  it("by a path with /* means everything below, and not the path itself", () => {
    for (const url of [
      "/public/a",
      "/public/a/b",
      "/public/",
      "/public/a.css?v=1",
      "/public/...",
      "/public/.well-known",
      "/public/a..b",
    ]) {
      expect(matches({ path: "/public/*" }, url), url).to.be.true;
    }
    for (const url of ["/public", "/publicity", "/public2/a", "/Public/a", "/a/public/b", "/publi/c"])
      expect(matches({ path: "/public/*" }, url), url).to.be.false;
  });

  it("by an expression matches the path without the query", () => {
    const condition = { path: /^\/docs(\/|$)/ };
    expect(["/docs", "/docs/a", "/docs?x", "/docs/caf%C3%A9", "/docs/a%20b"].every((url) => matches(condition, url))).to
      .be.true;
    expect(["/admin?/docs", "/admin#/docs", "/docsx", "/admin?x=/docs/"].some((url) => matches(condition, url))).to.be
      .false;
    expect(matches({ path: /\.css$/ }, "/admin?a=.css")).to.be.false;
  });

  it("by an expression that remembers its place answers the same every time", () => {
    const test = compileCondition("unless()", { path: /\/docs/g });
    for (let round = 0; round < 4; round += 1) expect(test(fakeExchange({ url: "/docs" }))).to.be.true;
  });

  it("by a sticky expression matches from the start only, as it does elsewhere", () => {
    const test = compileCondition("unless()", { path: /\/public\//y });
    for (let round = 0; round < 3; round += 1) {
      expect(test(fakeExchange({ url: "/public/a" }))).to.be.true;
      expect(test(fakeExchange({ url: "/admin/public/" }))).to.be.false;
    }
  });

  it("by a method means that method, in the spelling of HTTP", () => {
    expect(matches({ method: "get" }, "/")).to.be.true;
    expect(matches({ method: ["GET", "HEAD"] }, "/", "HEAD")).to.be.true;
    for (const method of ["POST", "get", "GETX", "", "HEAD"])
      expect(matches({ method: "GET" }, "/", method), method).to.be.false;
  });

  it("by path and method needs both; by several, one of them", () => {
    const condition = { path: ["/a", /^\/b/], method: ["GET", "POST"] };
    expect(matches(condition, "/a", "POST")).to.be.true;
    expect(matches(condition, "/bc", "GET")).to.be.true;
    expect(matches(condition, "/a", "DELETE")).to.be.false;
    expect(matches(condition, "/c", "GET")).to.be.false;
    expect(matches({ path: [] }, "/")).to.be.false;
    expect(matches({ method: [] }, "/")).to.be.false;
  });

  for (const path of ["", "public", "*", "http://a/b", 5, null, {}, ["/a", 5], [""], [null]]) {
    it(`takes no path ${JSON.stringify(path)}`, () =>
      expect(() => matches({ path: path as never }, "/")).to.throw(TypeError, "unless().path"));
  }

  it("is not changed by later changes of the caller's list", () => {
    const path = ["/a"];
    const test = compileCondition("unless()", { path });
    path.push("/admin");
    expect(test(fakeExchange({ url: "/admin" }))).to.be.false;
  });
});

describe("unless", () => {
  it("frees public paths and nothing else from the guard", async () => {
    const gate = openGate({ auth: testAuth });
    const guard = gate.unless({ path: ["/health", "/public/*"], method: ["GET", "HEAD"] }, gate.guard());
    const passes = async (url: string, method = "GET"): Promise<boolean> =>
      (await guard.check(fakeExchange({ url, method }))).allowed;
    for (const url of ["/health", "/public/a.css", "/health?x"]) expect(await passes(url), url).to.be.true;
    for (const url of ["/", "/orders", "/Health", "/health/", ...odd, ...doubtful])
      expect(await passes(url), url).to.be.false;
    expect(await passes("/health", "POST")).to.be.false;
  });
});
