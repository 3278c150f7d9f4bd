import type { Degradation, Fenced, Hold, Reach, Work } from "../history.js";

/** What an application process is told. */
export type Order =
  | {
      readonly type: "start";
      readonly process: number;
      readonly redis: string | object;
      readonly seed: number;
      /** Replicas that must have a revocation before it is confirmed. */
      readonly replicas: number;
    }
  | { readonly type: "clock"; readonly aheadMs: number }
  | { readonly type: "measure" }
  | { readonly type: "version"; readonly question: number; readonly version: number };

/** What it tells. */
export type Report =
  | { readonly type: "listening"; readonly url: string }
  | { readonly type: "measured"; readonly heapBytes: number; readonly openConnections: number }
  | { readonly type: "complaint"; readonly text: string }
  /** Asks the data source that all processes share for the version of something, or makes a new one. */
  | { readonly type: "ask"; readonly question: number; readonly key: string; readonly change: boolean }
  /** Asks the data source that checks fences; it answers the version -1 to a fence that is too low. */
  | ({ readonly type: "fenced"; readonly question: number } & Pick<Fenced, "key" | "fence" | "action" | "value">)
  /** The process did not run for a while. */
  | { readonly type: "busy"; readonly start: number; readonly end: number }
  | Omit<Work, "process" | "life">
  | Omit<Hold, "process" | "life">
  | Omit<Degradation, "process" | "life">
  | Omit<Reach, "process" | "life">;
