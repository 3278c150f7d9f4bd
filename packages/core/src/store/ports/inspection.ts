import type { Consumption, CounterState } from "./decisions.js";
import type { StoreFault } from "./fault.js";
import type { FoundRecords } from "./revocation.js";

/** Reads what decisions rest on, to explain them. It counts nothing, writes nothing and keeps no answer. */
export interface StoreInspection {
  /**
   * The counter states that a request would get now, with these consumptions counted, or refused by their counters. Never
   * rejects.
   */
  counters(consumptions: readonly Consumption[]): Promise<readonly (CounterState | StoreFault)[]>;
  /** The records of revocation under these keys. Never rejects. */
  records(keys: readonly string[]): Promise<FoundRecords>;
  /** The reason for which requests do not believe that a token is not revoked, such as a wrong clock; undefined for none. */
  doubt(): StoreFault | undefined;
}
