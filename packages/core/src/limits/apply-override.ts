import type { CountingMode } from "../store/ports/decisions.js";
import type { PolicyOverrides } from "./override-cache.js";

/** What a policy comes to for one request, before its charge is made. */
export interface Terms {
  readonly partition: string;
  readonly limit: number;
  readonly burst: number | undefined;
  readonly windowSeconds: number;
  readonly cost: number;
}

/** The terms under what operators decided: a rule of the client's own, or else that for everybody. */
export function applyOverride(terms: Terms, { everybody, clients }: PolicyOverrides): Terms {
  const rule = clients.get(terms.partition) ?? everybody;
  if (rule === undefined) return terms;
  const { limit = terms.limit, windowSeconds = terms.windowSeconds } = rule;
  return { ...terms, limit, windowSeconds };
}

/** Has the record of blocks read that policies without a `block` do not look at, and blocks nobody by itself. */
export function withBlocks(rule: CountingMode | undefined): CountingMode {
  const { algorithm, shadow } = rule ?? { algorithm: "fixed-window", shadow: false };
  return { algorithm, shadow, block: { after: 0, firstMs: 1, longestMs: 1 } };
}
