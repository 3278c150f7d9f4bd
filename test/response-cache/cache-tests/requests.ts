import type { Case, Step } from "./run.js";
import { then } from "./run.js";

const cc = (value: string | readonly string[], more: Record<string, string | number | readonly string[]> = {}) => ({
  "cache-control": value,
  ...more,
});
const fresh = cc("max-age=100000", { date: 0 });
const asking = (control: string): Partial<Step> => ({ request: cc(control) });

/** cc-request.mjs, pragma.mjs */
export const requestDirectives: readonly Case[] = [
  then("ccreq-ma0", fresh, "made", asking("max-age=0")),
  then("ccreq-ma1", fresh, "made", asking("max-age=1")),
  then("ccreq-magreaterage", { ...fresh, age: "1800" }, "made", asking("max-age=600")),
  // What is stale is kept only for as long as something may come of it.
  then("ccreq-max-stale", cc("max-age=2, stale-if-error=60"), "kept", asking("max-stale=1000")),
  then(
    "ccreq-max-stale-age",
    cc("max-age=1500, stale-if-error=1000", { age: "2000" }),
    "kept",
    asking("max-stale=1000"),
  ),
  then("ccreq-min-fresh", cc("max-age=1500"), "made", asking("min-fresh=2000")),
  then("ccreq-min-fresh-age", cc("max-age=1500", { age: "1000" }), "made", asking("min-fresh=1000")),
  then("ccreq-no-cache", fresh, "made", asking("no-cache")),
  then("ccreq-no-store", fresh, "made", asking("no-store")),
  { id: "ccreq-oic", steps: [{ ...asking("only-if-cached"), expect: "kept", answers: 504 }] },
  then("pragma-request-no-cache", fresh, "made", { request: { pragma: "no-cache" } }),
  then("pragma-request-extension", fresh, "kept", { request: { pragma: "unrecognised-extension" } }),
  then("pragma-response-no-cache", cc("max-age=3600", { pragma: "no-cache" }), "kept"),
  then("pragma-response-no-cache-heuristic", { "last-modified": -10_000, date: 0, pragma: "no-cache" }, "made"),
  then("pragma-response-extension", cc("max-age=3600", { pragma: "unrecognised-extension" }), "kept"),
];

type Fields = Readonly<Record<string, string | readonly string[]>>;

/** A response that varies, asked for with some fields, and what a request with others gets. */
function varies(
  id: string,
  vary: string | readonly string[],
  asked: Fields,
  later: Fields,
  what: "kept" | "made",
): Case {
  return then(
    id,
    cc("max-age=5000", { vary, "last-modified": -3000, date: 0 }),
    what,
    { request: later },
    { request: asked },
  );
}

const three = { foo: "1", bar: "abc", baz: "789" };

/** vary.mjs, vary-parse.mjs */
export const vary: readonly Case[] = [
  varies("vary-match", "Foo", { foo: "1" }, { foo: "1" }, "kept"),
  varies("vary-no-match", "Foo", { foo: "1" }, { foo: "2" }, "made"),
  varies("vary-omit-stored", "Foo", {}, { foo: "1" }, "made"),
  varies("vary-omit", "Foo", { foo: "1" }, {}, "made"),
  {
    id: "vary-invalidate",
    steps: [
      { request: { foo: "1" }, response: cc("max-age=5000", { vary: "Foo" }), expect: "made" },
      { request: { foo: "2" }, response: cc("max-age=5000", { vary: "Foo" }), expect: "made" },
      { request: { foo: "1" }, expect: "kept" },
      { request: { foo: "2" }, expect: "kept" },
    ],
  },
  varies("vary-cache-key", "Foo", { foo: "1", other: "2" }, { foo: "1", other: "3" }, "kept"),
  varies("vary-2-match", "Foo, Bar", { foo: "1", bar: "abc" }, { foo: "1", bar: "abc" }, "kept"),
  varies("vary-2-no-match", "Foo, Bar", { foo: "1", bar: "abc" }, { foo: "2", bar: "abc" }, "made"),
  varies("vary-2-match-omit", "Foo, Bar", { foo: "1", bar: "abc" }, {}, "made"),
  varies("vary-3-match", "Foo, Bar, Baz", three, three, "kept"),
  varies("vary-3-no-match", "Foo, Bar, Baz", three, { ...three, foo: "2" }, "made"),
  varies("vary-3-order", "Foo, Bar, Baz", three, { foo: "1", baz: "789", bar: "abcde" }, "made"),
  varies("vary-3-omit", "Foo, Bar, Baz", { foo: "1", baz: "789" }, { foo: "1", baz: "789" }, "kept"),
  varies("vary-star", "*", three, three, "made"),
  varies("vary-normalise-combine", "Foo", { foo: "1, 2" }, { foo: ["1", "2"] }, "kept"),
  varies(
    "vary-normalise-lang-space",
    "Accept-Language",
    { "accept-language": "en, de" },
    { "accept-language": "en , de" },
    "kept",
  ),
  varies("vary-normalise-space", "Foo", { foo: "1,2" }, { foo: "1, 2 " }, "made"),
  varies(
    "vary-normalise-lang-order",
    "Accept-Language",
    { "accept-language": "en, de" },
    { "accept-language": "de, en" },
    "made",
  ),
  varies(
    "vary-normalise-lang-case",
    "Accept-Language",
    { "accept-language": "en, de" },
    { "accept-language": "eN, De" },
    "made",
  ),
  varies(
    "vary-normalise-lang-select",
    "Accept-Language",
    { "accept-language": "en, de" },
    { "accept-language": "fr;q=0.5, de;q=1.0" },
    "made",
  ),
  varies("vary-syntax-star", "*", three, three, "made"),
  varies("vary-syntax-star-star", "*, *", three, three, "made"),
  varies("vary-syntax-star-star-lines", ["*", "*"], three, three, "made"),
  varies("vary-syntax-empty-star", ", *", three, three, "made"),
  varies("vary-syntax-empty-star-lines", ["", "*"], three, three, "made"),
  varies("vary-syntax-star-foo", "*, Foo", three, three, "made"),
  varies("vary-syntax-foo-star", "Foo, *", three, three, "made"),
];

const conditional = (id: string, etag: string, condition: string, answers = 304): Case =>
  then(id, { ...fresh, etag }, "kept", { request: { "if-none-match": condition }, answers });
const modified = -3000;

/** conditional-etag.mjs, conditional-lm.mjs */
export const conditions: readonly Case[] = [
  conditional("conditional-etag-strong-respond", '"abcdef"', '"abcdef"'),
  then("conditional-304-etag", { ...fresh, etag: '"abcdef"' }, "kept", {
    request: { "if-none-match": '"abcdef"' },
    answers: 304,
    has: { etag: '"abcdef"' },
  }),
  then("conditional-etag-precedence", { ...fresh, etag: '"abcdef"', "last-modified": -5000 }, "kept", {
    request: { "if-none-match": '"abcdef"', "if-modified-since": -10_000 },
    answers: 304,
  }),
  conditional("conditional-etag-strong-respond-obs-text", '"abcdef\u00fc"', '"abcdef\u00fc"'),
  conditional("conditional-etag-quoted-respond-unquoted", '"abcdef"', "abcdef", 200),
  conditional("conditional-etag-unquoted-respond-unquoted", "abcdef", "abcdef", 200),
  conditional("conditional-etag-unquoted-respond-quoted", "abcdef", '"abcdef"', 200),
  conditional("conditional-etag-weak-respond", 'W/"abcdef"', 'W/"abcdef"'),
  conditional("conditional-etag-weak-respond-lowercase", 'w/"abcdef"', 'w/"abcdef"', 200),
  conditional("conditional-etag-weak-respond-backslash", 'W\\"abcdef"', 'W\\"abcdef"', 200),
  conditional("conditional-etag-weak-respond-omit-slash", 'W"abcdef"', 'W"abcdef"', 200),
  conditional("conditional-etag-strong-respond-multiple-first", '"abcdef"', '"abcdef", "1234", "5678"'),
  conditional("conditional-etag-strong-respond-multiple-second", '"abcdef"', '"1234", "abcdef", "5678"'),
  conditional("conditional-etag-strong-respond-multiple-last", '"abcdef"', '"1234", "5678", "abcdef"'),
  then("conditional-lm-fresh", { ...fresh, "last-modified": "Tue, 24 Nov 2026 10:00:00 GMT" }, "kept", {
    request: { "if-modified-since": "Tue, 24 Nov 2026 10:00:00 GMT" },
    answers: 304,
  }),
  then("conditional-lm-fresh-earlier", { ...fresh, "last-modified": modified }, "kept", {
    request: { "if-modified-since": modified + 1000 },
    answers: 304,
  }),
  then("conditional-lm-stale", cc("max-age=2", { "last-modified": "Tue, 24 Nov 2026 10:00:00 GMT" }), "made", {
    request: { "if-modified-since": "Tue, 24 Nov 2026 10:00:00 GMT" },
    answers: 304,
  }),
  then("conditional-lm-fresh-no-lm", fresh, "kept", { request: { "if-modified-since": modified }, answers: 200 }),
  then("conditional-lm-fresh-rfc850", { ...fresh, "last-modified": "Tue, 24 Nov 2026 10:00:00 GMT" }, "kept", {
    request: { "if-modified-since": "Tuesday, 24-Nov-26 10:00:00 GMT" },
    answers: 304,
  }),
];
