import type { Exchange } from "./exchange.js";
import type { Verdict } from "./verdict.js";

/** Decides about a request; writes what it found out to `exchange.facts`. Bugs throw, refusals are values. */
export type Check<Raw = unknown> = (exchange: Exchange<Raw>) => Verdict | Promise<Verdict>;
