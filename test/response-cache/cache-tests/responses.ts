import type { Case } from "./run.js";
import { then } from "./run.js";

const cc = (value: string | readonly string[], more: Record<string, string | number | readonly string[]> = {}) => ({
  "cache-control": value,
  ...more,
});
const fresh = cc("max-age=3600", { date: 0 });
const tagged = { etag: '"abcd"' };

/** A kept response, a newer one that must not be stored, and then the older one again. */
function olderStays(id: string, newer: string): Case {
  return {
    id,
    steps: [
      { response: cc("max-age=10000", { expires: 10_000, date: 0, a: "1" }), expect: "made" },
      { request: { "cache-control": "no-cache" }, response: cc(newer, { date: 0, a: "2" }), expect: "made", after: 3 },
      { expect: "kept", after: 3, has: { a: "1" } },
    ],
  };
}

/** cc-response.mjs */
export const responseDirectives: readonly Case[] = [
  then("cc-resp-private-shared", cc("private, max-age=3600"), "made"),
  then("cc-resp-no-store", cc("no-store"), "made"),
  then("cc-resp-no-store-case-insensitive", cc("No-StOrE"), "made"),
  then("cc-resp-no-store-fresh", cc("max-age=10000, no-store", { expires: 10_000, date: 0 }), "made"),
  olderStays("cc-resp-no-store-old-new", "no-store"),
  olderStays("cc-resp-no-store-old-max-age", "no-store, max-age=0"),
  then("cc-resp-no-cache", cc("max-age=10000, no-cache", { expires: 10_000, date: 0 }), "made"),
  then("cc-resp-no-cache-case-insensitive", cc("max-age=10000, No-CaChE"), "made"),
  then(
    "headers-omit-headers-listed-in-Cache-Control-no-cache-single",
    cc(['no-cache="a"', "max-age=3600"], { a: "1" }),
    "made",
  ),
  then(
    "headers-omit-headers-listed-in-Cache-Control-no-cache",
    cc(['no-cache="a, b"', "max-age=3600"], { a: "1" }),
    "made",
  ),
  then("cc-resp-must-revalidate-fresh", cc("max-age=10000, must-revalidate", tagged), "kept"),
  {
    id: "cc-resp-must-revalidate-stale",
    steps: [
      { response: cc("max-age=2, must-revalidate", tagged), expect: "made" },
      { expect: "kept" },
      { expect: "made", after: 3 },
    ],
  },
];

const dies = (id: string, control: string): Case =>
  then(id, cc(`max-age=2, ${control}`), "made", { status: 503, response: {} });

/** stale.mjs, where the origin answers 503 instead of closing the connection: it is the same process. */
export const stale: readonly Case[] = [
  then("stale-503", cc("max-age=2"), "made", { status: 503, response: {} }),
  {
    id: "stale-while-revalidate",
    steps: [
      { response: cc("max-age=1, stale-while-revalidate=3600", tagged), expect: "made" },
      // One request makes it anew; see test/response-cache/http/life.test.ts for the others.
      { response: cc("max-age=1"), expect: "made", after: 3, has: { "cache-status": /fwd=stale/ } },
    ],
  },
  {
    id: "stale-while-revalidate-window",
    steps: [
      { response: cc("max-age=1, stale-while-revalidate=4"), expect: "made" },
      { response: cc("no-cache"), expect: "made", after: 6 },
    ],
  },
  then("stale-sie-503", cc("max-age=2, stale-if-error=60"), "made", {
    status: 503,
    response: {},
    answers: 200,
    has: { age: "3" },
  }),
  dies("stale-close-must-revalidate", "must-revalidate, stale-if-error=60"),
  dies("stale-close-proxy-revalidate", "proxy-revalidate, stale-if-error=60"),
  dies("stale-close-no-cache", "no-cache, stale-if-error=60"),
  dies("stale-close-s-maxage=2", "s-maxage=2"),
];

const codes = [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599];
const understood = new Set([200, 203, 204, 301, 302, 303, 307, 308, 404, 410]);

/** status.mjs */
export const statuses: readonly Case[] = [
  ...codes.map((status) =>
    then(`status-${status}-fresh`, fresh, understood.has(status) ? "kept" : "made", { status }, { status }),
  ),
  ...codes.map((status) => then(`status-${status}-stale`, cc("max-age=2"), "made", { status }, { status })),
  then(
    "status-599-must-understand",
    cc("max-age=3600, no-store, must-understand"),
    "made",
    { status: 599 },
    { status: 599 },
  ),
  then("status-200-must-understand", cc("max-age=3600, no-store, must-understand"), "kept"),
];

const once = [
  "Connection",
  "Keep-Alive",
  "Proxy-Authenticate",
  "Proxy-Authentication-Info",
  "Proxy-Authorization",
  "Proxy-Connection",
  "TE",
  "Upgrade",
];
const ours = ["Clear-Site-Data", "Set-Cookie", "Set-Cookie2"];
const storedNames = [
  "Test-Header",
  "X-Test-Header",
  "Content-Foo",
  "X-Content-Foo",
  "Content-Encoding",
  "Content-Location",
  "Content-MD5",
  "Content-Range",
  "Content-Security-Policy",
  "Public-Key-Pins",
  "X-Frame-Options",
  "X-XSS-Protection",
];

/** headers.mjs */
export const headers: readonly Case[] = [
  then("headers-omit-headers-listed-in-Connection", { ...fresh, connection: "a, b", a: "1", b: "2", c: "3" }, "kept", {
    has: { c: "3" },
    lacks: ["a", "b"],
  }),
  ...storedNames.map((name) =>
    then(`headers-store-${name}`, { ...fresh, [name]: "value" }, "kept", { has: { [name.toLowerCase()]: "value" } }),
  ),
  then("headers-store-Cache-Control", fresh, "kept", { has: { "cache-control": "max-age=3600" } }),
  then("headers-store-Content-Type", { ...fresh, "content-type": "text/plain; charset=utf-8" }, "kept", {
    has: { "content-type": "text/plain; charset=utf-8" },
  }),
  // Whatever the number is, its body is as long: the client that the cases use takes no other.
  then("headers-store-Content-Length", fresh, "kept", {
    has: { "content-length": /^\d+$/ },
    lacks: ["transfer-encoding"],
  }),
  then("headers-store-ETag", { ...fresh, etag: '"ghijkl"' }, "kept", { has: { etag: '"ghijkl"' } }),
  then("headers-store-Expires", { ...fresh, expires: "Mon, 11 Jan 2038 11:11:11 GMT" }, "kept", {
    has: { expires: "Mon, 11 Jan 2038 11:11:11 GMT" },
  }),
  ...once.map((name) =>
    then(`headers-store-${name}`, { ...fresh, [name]: "x" }, "kept", {
      // Node has these two of its own.
      ...(name === "Connection" || name === "Keep-Alive"
        ? { has: { [name.toLowerCase()]: /^(?:keep-alive|close|timeout=\d+)$/ } }
        : { lacks: [name.toLowerCase()] }),
    }),
  ),
  ...ours.map((name) =>
    then(`headers-store-${name}`, { "cache-control": "public, max-age=3600", [name]: "x" }, "kept", {
      lacks: [name.toLowerCase()],
    }),
  ),
];
