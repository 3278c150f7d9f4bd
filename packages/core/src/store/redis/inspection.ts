import type { Consumption, CounterState } from "../ports/decisions.js";
import { blockedState } from "../ports/decisions.js";
import { StoreFault } from "../ports/fault.js";
import type { StoreInspection } from "../ports/inspection.js";
import type { RevocationRecords } from "../ports/revocation.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { kinds } from "./decide-batch.js";
import { faultOfError, faultOfPart, integerIn, readListOf, unreadable } from "./replies.js";
import { runScript } from "./run-script.js";
import { inspectCounterScript } from "./scripts/inspection.js";

export interface RedisInspectionOptions {
  readonly connection: Connection;
  readonly records: RevocationRecords;
  readonly deadlineMs: number;
  /** Do questions of requests fail at once now, since a circuit breaker is open? */
  readonly isOpen: () => { readonly reads: boolean; readonly writes: boolean };
  readonly doubt: () => StoreFault | undefined;
}

/** An operator waits for the answer. Under load it may come later than that of a request. */
const minDeadlineMs = 1000;

/** Reads the counters and records in Redis, one call for each counter. While the breaker is open, requests get no answers. */
export function inspectRedis(options: RedisInspectionOptions): StoreInspection {
  const { connection, records, deadlineMs, isOpen, doubt } = options;
  const open = new StoreFault("open");

  async function readCounter(consumption: Consumption): Promise<CounterState | StoreFault> {
    const { key, blockKey, mode } = consumption;
    const keys = mode?.block === undefined || blockKey === undefined ? [key] : [key, blockKey];
    try {
      return await callWithin(
        Math.max(deadlineMs, minDeadlineMs),
        connection,
        async () =>
          stateIn(consumption, await runScript(connection.client, inspectCounterScript, keys, termsOf(consumption))),
        "limit",
      );
    } catch (error) {
      return faultOfError(error);
    }
  }

  return {
    async counters(consumptions) {
      const { reads, writes } = isOpen();
      if (reads || writes) return consumptions.map(() => open);
      return Promise.all(consumptions.map(readCounter));
    },
    async records(keys) {
      return isOpen().reads ? { found: new Map(), fault: open } : records.find(keys);
    },
    doubt,
  };
}

/** The terms as the script takes them: those of a plain fixed window too. */
function termsOf({ limit, windowSeconds, cost, burst, slot, blockKey, mode }: Consumption): (string | number)[] {
  const kind = kinds[mode?.algorithm ?? "fixed-window"];
  const block = blockKey === undefined ? undefined : mode?.block;
  const blocks =
    block === undefined
      ? ["", "", ""]
      : [block.after, block.extends === true ? -block.firstMs : block.firstMs, block.maxMs];
  return [kind, limit, windowSeconds * 1000, cost, slot ?? burst ?? limit, mode?.shadow === true ? 1 : "", ...blocks];
}

function stateIn(consumption: Consumption, reply: unknown): CounterState {
  const [said, reset] = readListOf(reply, 2);
  const consumed = integerIn(said, -2);
  if (consumed === undefined) throw faultOfPart(said);
  const resetMs = integerIn(reset, 0);
  if (resetMs === undefined || consumed === -1) throw unreadable();
  return consumed === -2 ? blockedState(consumption, resetMs) : { consumed, resetMs };
}
