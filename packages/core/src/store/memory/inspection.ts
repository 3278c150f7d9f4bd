import type { StoreInspection } from "../ports/inspection.js";
import type { MemoryDecisionStore } from "./decisions.js";

/** Reads the counters and records of this process. */
export function inspectMemory(store: MemoryDecisionStore): StoreInspection {
  return {
    counters: (consumptions) => Promise.resolve(store.corrections.preview(consumptions)),
    records: (keys) => store.find(keys),
    doubt: () => undefined,
  };
}
