import type { Case } from "./run.js";
import { then } from "./run.js";

const cc = (value: string | readonly string[], more: Record<string, string | number | readonly string[]> = {}) => ({
  "cache-control": value,
  ...more,
});

/** cc-freshness.mjs, cc-parse.mjs */
export const cacheControl: readonly Case[] = [
  then("freshness-none", {}, "made"),
  then("freshness-max-age", cc("max-age=3600"), "kept"),
  then("freshness-max-age-stale", cc("max-age=2"), "made"),
  then("freshness-max-age-0", cc("max-age=0"), "made"),
  then("freshness-max-age-max-minus-1", cc("max-age=2147483647"), "kept"),
  then("freshness-max-age-max", cc("max-age=2147483648"), "kept"),
  then("freshness-max-age-max-plus-1", cc("max-age=2147483649"), "kept"),
  then("freshness-max-age-max-plus", cc("max-age=99999999999"), "kept"),
  then("freshness-max-age-age", cc("max-age=3600", { age: "7200" }), "made"),
  then("freshness-max-age-date", cc("max-age=3600", { date: -7200 }), "made"),
  then("freshness-max-age-expires", cc("max-age=3600", { expires: -7200, date: 0 }), "kept"),
  then("freshness-max-age-expires-invalid", cc("max-age=3600", { expires: "0", date: 0 }), "kept"),
  then("freshness-max-age-0-expires", cc("max-age=0", { expires: 3600, date: 0 }), "made"),
  then("freshness-max-age-extension", cc("foobar, max-age=3600"), "kept"),
  then("freshness-max-age-case-insenstive", cc("MaX-aGe=3600"), "kept"),
  then("freshness-max-age-negative", cc("max-age=-3600"), "made"),
  then("freshness-s-maxage-shared", cc("s-maxage=3600"), "kept"),
  then("freshness-max-age-s-maxage-shared-longer", cc("max-age=3600, s-maxage=1"), "made"),
  then("freshness-max-age-s-maxage-shared-longer-reversed", cc("s-maxage=1, max-age=3600"), "made"),
  then("freshness-max-age-s-maxage-shared-longer-multiple", cc(["max-age=3600", "s-maxage=1"]), "made"),
  then("freshness-max-age-s-maxage-shared-shorter", cc("max-age=1, s-maxage=3600"), "kept"),
  then("freshness-max-age-s-maxage-shared-shorter-expires", cc("max-age=1, s-maxage=3600", { expires: -10 }), "kept"),
  then("freshness-max-age-two-fresh-stale-sameline", cc("max-age=1800, max-age=1"), "made"),
  then("freshness-max-age-two-fresh-stale-sepline", cc(["max-age=1800", "max-age=1"]), "made"),
  then("freshness-max-age-two-stale-fresh-sameline", cc("max-age=1, max-age=1800"), "made"),
  then("freshness-max-age-two-stale-fresh-sepline", cc(["max-age=1", "max-age=1800"]), "made"),
  then("freshness-max-age-quoted", cc('max-age="3600"'), "kept"),
  then("freshness-max-age-ignore-quoted", cc('extension="max-age=3600", max-age=1'), "made"),
  then("freshness-max-age-ignore-quoted-rev", cc('max-age=1, extension="max-age=3600"'), "made"),
  then("freshness-max-age-space-before-equals", cc("max-age =3600"), "made"),
  then("freshness-max-age-space-after-equals", cc("max-age= 3600"), "made"),
  then("freshness-max-age-leading-zero", cc("max-age=003600"), "kept"),
  then("freshness-max-age-single-quoted", cc("max-age='3600'"), "made"),
  then("freshness-max-age-decimal-zero", cc("max-age=3600.0"), "made"),
  then("freshness-max-age-decimal-five", cc("max-age=3600.5"), "made"),
  then("freshness-max-age-a100", cc("max-age=a3600"), "made"),
  then("freshness-max-age-100a", cc("max-age=3600a"), "made"),
];

const aged = (id: string, age: string | readonly string[], what: "kept" | "made", maxAge = 3600): Case =>
  then(id, cc(`max-age=${maxAge}`, { age, date: 0 }), what);

/** age-parse.mjs */
export const age: readonly Case[] = [
  aged("age-parse-nonnumeric", "abc", "kept"),
  aged("age-parse-negative", "-7200", "kept"),
  aged("age-parse-float", "7200.0", "kept"),
  aged("age-parse-large-minus-one", "2147483647", "made"),
  aged("age-parse-large", "2147483648", "made"),
  aged("age-parse-larger", "2147483649", "made"),
  aged("age-parse-suffix", "7200, 0", "made"),
  aged("age-parse-prefix", "0, 7200", "kept"),
  aged("age-parse-suffix-twoline", ["7200", "0"], "made"),
  aged("age-parse-prefix-twoline", ["0", "7200"], "kept"),
  aged("age-parse-dup-0", "0, 0", "kept"),
  aged("age-parse-dup-0-twoline", ["0", "0"], "kept"),
  aged("age-parse-dup-old", ["3600", "3600"], "kept", 10_000),
  aged("age-parse-parameter", "7200;foo=bar", "kept"),
  aged("age-parse-numeric-parameter", "7200;foo=111", "kept"),
];

const until = (
  id: string,
  expires: string | number | readonly string[],
  what: "kept" | "made",
  more: Record<string, string | number> = { date: 0 },
): Case => then(id, { expires, ...more }, what);

/** expires-freshness.mjs, expires-parse.mjs */
export const expires: readonly Case[] = [
  until("freshness-expires-future", 2_592_000, "kept"),
  until("freshness-expires-past", -2_592_000, "made"),
  until("freshness-expires-present", 0, "made"),
  until("freshness-expires-old-date", 300, "made", { date: 400 }),
  until("freshness-expires-invalid", "0", "made"),
  until("freshness-expires-invalid-date", 10, "kept", { date: "foo" }),
  until("freshness-expires-age-slow-date", 10, "made", { date: -10, age: "25" }),
  until("freshness-expires-age-fast-date", 20, "made", { date: 10, age: "15" }),
  until("freshness-expires-32bit", "Tue, 19 Jan 2038 14:14:08 GMT", "kept"),
  until("freshness-expires-far-future", "Sun, 21 Nov 2286 04:46:39 GMT", "kept"),
  until("freshness-expires-rfc850", "Thursday, 18-Aug-50 02:01:18 GMT", "kept"),
  until("freshness-expires-ansi-c", "Thu Aug  8 02:01:18 2050", "kept"),
  until("freshness-expires-wrong-case-weekday", "THU, 18 Aug 2050 02:01:18 GMT", "kept"),
  until("freshness-expires-wrong-case-month", "Thu, 18 AUG 2050 02:01:18 GMT", "kept"),
  until("freshness-expires-wrong-case-tz", "Thu, 18 Aug 2050 02:01:18 gMT", "kept"),
  until("freshness-expires-invalid-utc", "Thu, 18 Aug 2050 02:01:18 UTC", "made"),
  until("freshness-expires-invalid-aest", "Thu, 18 Aug 2050 02:01:18 AEST", "made"),
  until("freshness-expires-invalid-2-digit-year", "Thu, 18 Aug 50 02:01:18 GMT", "made"),
  until("freshness-expires-invalid-no-comma", "Thu 18 Aug 2050 02:01:18 GMT", "made"),
  until("freshness-expires-invalid-multiple-spaces", "Thu, 18  Aug  2050 02:01:18 GMT", "made"),
  until("freshness-expires-invalid-date-dashes", "Thu, 18-Aug-2050 02:01:18 GMT", "made"),
  until("freshness-expires-invalid-time-periods", "Thu, 18 Aug 2050 02.01.18 GMT", "made"),
  until("freshness-expires-invalid-1-digit-hour", "Thu, 18 Aug 2050 2:01:18 GMT", "made"),
  until(
    "freshness-expires-invalid-multiple-lines",
    ["Thu, 18 Aug 2050 2:01:18 GMT", "Thu, 18 Aug 2050 2:01:19 GMT"],
    "made",
  ),
];

const modified = { "last-modified": -86_400, date: 0 };

/** heuristic-freshness.mjs: there are no heuristics. */
export const heuristics: readonly Case[] = [
  ...[200, 203, 204, 404, 405, 410, 414, 501].map((status) =>
    then(`heuristic-${status}-cached`, modified, "made", { status }, { status }),
  ),
  ...[201, 202, 403, 502, 503, 504, 599].map((status) =>
    then(`heuristic-${status}-not_cached`, modified, "made", { status }, { status }),
  ),
  ...[5, 10, 30, 60, 300, 600, 1200, 1800, 3600, 43_200, 86_400].map((delta) =>
    then(`heuristic-delta-${delta}`, { "last-modified": -delta, date: 0 }, "made"),
  ),
];
