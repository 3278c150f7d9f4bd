import type { AnyGate } from "./app.js";

/** The requests that a gate has counted, by outcome and code; zeros are left out. */
export function countedRequests({ metrics }: Pick<AnyGate, "metrics">): Record<string, number> {
  const all = metrics();
  const found: Record<string, number> = {};
  for (const name of ["requests", "denied", "allowed"])
    for (const { labels, value } of all.find((one) => one.name === `portcullis_${name}_total`)?.samples ?? [])
      if (value !== 0) found[`${name} ${labels["outcome"] ?? labels["code"] ?? ""}`.trim()] = value;
  return found;
}
