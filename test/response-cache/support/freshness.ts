import { readDirectives } from "../../../packages/core/src/response-cache/cache-control.js";
import type { StoredResponse } from "../../../packages/core/src/response-cache/stored-response.js";
import type { FieldReader, Freshness, FreshnessDefaults } from "../../../packages/core/src/response-cache/freshness.js";
import { freshnessOf } from "../../../packages/core/src/response-cache/freshness.js";

/** A whole second, as HTTP dates are. */
export const nowMs = Date.UTC(2026, 10, 25, 12, 0, 0);

type Fields = Readonly<Record<string, string>>;

export function fieldReader(fields: Fields): FieldReader {
  return (name) => fields[name];
}

/** The freshness of a response that is stored now, asked for a while ago. */
export function storeAt(fields: Fields, defaults: FreshnessDefaults, requestMs = nowMs): Freshness {
  const directives = readDirectives(fields["cache-control"]);
  const found = freshnessOf(fieldReader(fields), directives, defaults, { requestMs, nowMs, shared: true });
  if (found === undefined) throw new Error("the response says nothing of its freshness");
  return found;
}

export const storedResponse: StoredResponse = {
  status: 200,
  fields: [["content-type", "text/plain"]],
  body: Buffer.from("body"),
  form: "whole",
  sized: true,
  removed: [],
  storedMs: nowMs,
  storeMs: nowMs,
  initialAge: 0,
  lifetime: 60,
  staleWhileRevalidate: 0,
  staleIfError: 0,
  mustRevalidate: false,
  open: true,
  explicit: true,
  vary: ["accept"],
  generations: [["tag a", "generation"]],
};
