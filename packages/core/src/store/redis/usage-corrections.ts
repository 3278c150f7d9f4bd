import type { Adjustment, Consumption, UsageCorrections } from "../ports/decisions.js";
import { kinds } from "./decide-batch.js";
import type { GiveBackLine } from "./give-back-lane.js";
import type { GiveBacks } from "./give-backs.js";
import { adjustScript } from "./scripts/adjust.js";

/** Corrects consumptions in Redis. Each correction takes effect once, as soon as Redis answers within its window. */
export class AdjustmentQueue implements UsageCorrections {
  readonly #giveBacks: GiveBacks;

  constructor(giveBacks: GiveBacks) {
    this.#giveBacks = giveBacks;
  }

  adjust(adjustments: readonly Adjustment[]): void {
    for (const adjustment of adjustments) {
      if (adjustment.by === 0) continue;
      // A slot is removed by its name: a second removal does no harm.
      this.#giveBacks.push(adjustScript, adjustmentLine(adjustment), adjustment.consumption.slot === undefined);
    }
  }

  renew(consumptions: readonly Consumption[]): void {
    for (const consumption of consumptions)
      this.#giveBacks.push(adjustScript, adjustmentLine({ consumption: consumption, receipt: 0, by: 1 }), false);
  }

  expire({ key, limit, windowSeconds, slot = "" }: Consumption, afterMs: number): void {
    const args = ["expire", limit, afterMs, 0, slot];
    this.#giveBacks.push(adjustScript, { key, args, lifeMs: windowSeconds * 1000 }, false);
  }
}

/** Encodes a correction for `adjustScript`. */
export function adjustmentLine({ consumption: consumption, receipt, by }: Adjustment): GiveBackLine {
  const { key, limit, windowSeconds, mode, slot } = consumption;
  const kind = slot !== undefined && by > 0 ? "renew" : kinds[mode?.algorithm ?? "fixed-window"];
  const windowMs = windowSeconds * 1000;
  const args = [kind, limit, windowMs, by, slot ?? receipt];
  return { key, args, lifeMs: windowMs, ...(slot !== undefined && receipt < 0 ? { twice: true } : {}) };
}
