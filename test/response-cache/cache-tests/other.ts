import type { Case, Step } from "./run.js";
import { then } from "./run.js";

const fresh = { "cache-control": "max-age=100000", date: 0 } as const;

function unsafe(id: string, method: string, more: Partial<Step>, target: string, what: "kept" | "made"): Case {
  return {
    id,
    steps: [
      { at: target, response: fresh, expect: "made" },
      { method, expect: "made", ...more },
      { at: target, response: fresh, expect: what },
    ],
  };
}

/** invalidation.mjs */
export const invalidation: readonly Case[] = ["POST", "PUT", "DELETE", "M-SEARCH"].flatMap((method) => [
  unsafe(`invalidate-${method}`, method, {}, "", "made"),
  unsafe(`invalidate-${method}-failed`, method, { status: 500 }, "", "kept"),
  unsafe(
    `invalidate-${method}-location`,
    method,
    { response: { location: `/invalidate-${method}-location/target` } },
    "/target",
    "made",
  ),
  unsafe(
    `invalidate-${method}-cl`,
    method,
    { response: { "content-location": `invalidate-${method}-cl/target` } },
    "/target",
    "made",
  ),
]);

/** authorization.mjs; other-cookie and other-set-cookie of other.mjs */
export const credentials: readonly Case[] = [
  then("other-authorization", fresh, "made", {}, { request: { authorization: "FOO" } }),
  ...["public", "must-revalidate"].map((word) =>
    then(
      `other-authorization-${word}`,
      { "cache-control": `max-age=3600, ${word}` },
      "kept",
      {},
      { request: { authorization: "FOO" } },
    ),
  ),
  then(
    "other-authorization-smaxage",
    { "cache-control": "s-maxage=3600" },
    "kept",
    {},
    { request: { authorization: "FOO" } },
  ),
  then("other-cookie", fresh, "kept", { request: { cookie: "a=b" } }),
  then("other-set-cookie", { ...fresh, "set-cookie": "a=b" }, "made"),
];

/** other.mjs, interim.mjs, method.mjs, updateHead.mjs, partial.mjs */
export const others: readonly Case[] = [
  then("other-age-gen", fresh, "kept", { has: { age: /^[3-9]$/ } }),
  then("other-age-update-expires", { expires: 2_592_000, date: 0, age: "30" }, "kept", { has: { age: /^3[3-9]$/ } }),
  then("other-age-update-max-age", { ...fresh, age: "30" }, "kept", { has: { age: /^3[3-9]$/ } }),
  then("other-date-update-expires-update", { expires: "Mon, 11 Jan 2038 11:11:11 GMT", date: 0 }, "kept", {
    has: { expires: "Mon, 11 Jan 2038 11:11:11 GMT" },
  }),
  then("query-args-different", fresh, "made", { at: "?test=2" }, { at: "?test=1" }),
  then("query-args-same", fresh, "kept", { at: "?test=1" }, { at: "?test=1" }),
  then(
    "other-fresh-content-disposition-attachment",
    { ...fresh, "content-disposition": "attachment; filename=example.txt" },
    "kept",
  ),
  then(
    "other-heuristic-content-disposition-attachment",
    { "last-modified": -100_000, "content-disposition": "attachment" },
    "made",
  ),
  then("interim-102", fresh, "kept", {}, { interim: 102 }),
  then("interim-103", fresh, "kept", {}, { interim: 103 }),
  then("interim-not-cached", fresh, "kept", { answers: 200 }, { interim: 103 }),
  then("interim-no-header-reuse", fresh, "kept", { lacks: ["x-interim"] }, { interim: 103, lacks: ["x-interim"] }),
  then("method-POST", { ...fresh, "content-location": "/method-POST" }, "made", {}, { method: "POST" }),
  then("head-writethrough", { "cache-control": "max-age=2" }, "made", { method: "HEAD" }),
  then("partial-store-complete-reuse-partial", fresh, "made", { request: { range: "bytes=0-3" } }),
];
