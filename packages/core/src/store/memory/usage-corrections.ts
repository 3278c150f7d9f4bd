import type { Adjustment, Consumption, UsageCorrections, CounterState } from "../ports/decisions.js";
import { blockedState, exceeds, refuses } from "../ports/decisions.js";
import { BlockTable } from "./blocks.js";
import type { BoundedTableOptions } from "./bounded.js";
import { CounterTable } from "./counters.js";

/** Counters and blocks of this process: first all charges are looked at, then all are counted, or none. */
export class MemoryCorrections implements UsageCorrections {
  readonly #counters: CounterTable;
  readonly #blocks: BlockTable;

  constructor(options: BoundedTableOptions) {
    this.#counters = new CounterTable(options);
    this.#blocks = new BlockTable(options.now);
  }

  /** How the charges would stand, without counting them. */
  peek(charges: readonly Consumption[]): CounterState[] {
    const tallies: CounterState[] = [];
    for (const charge of charges) {
      const blockedMs = charge.blockKey === undefined ? 0 : this.#blocks.blockedMs(charge.blockKey);
      tallies.push(blockedMs > 0 ? blockedState(charge, blockedMs) : this.#counters.peek(charge));
    }
    return tallies;
  }

  /** Do these charges refuse their request? Notes their refusals, which may block their client: then in the tallies too. */
  refuse(charges: readonly Consumption[], tallies: CounterState[]): boolean {
    let refused = false;
    for (let index = 0; index < charges.length; index += 1) {
      const charge = charges[index];
      const tally = tallies[index];
      if (charge === undefined || tally === undefined || !exceeds(charge, tally)) continue;
      refused ||= refuses(charge, tally);
      const blockedMs = tally.blocked === true ? 0 : this.#strike(charge);
      if (blockedMs > 0) tallies[index] = blockedState(charge, blockedMs);
    }
    return refused;
  }

  /** Counts charges that were not refused. Returns their tallies, of those with a rule with a receipt. */
  count(charges: readonly Consumption[], tallies: readonly CounterState[]): readonly CounterState[] {
    let receipts: CounterState[] | undefined;
    for (let index = 0; index < charges.length; index += 1) {
      const charge = charges[index];
      const tally = tallies[index];
      // What is over its limit here is only measured.
      if (charge === undefined || tally === undefined || exceeds(charge, tally)) continue;
      const receipt = this.#counters.count(charge);
      if (charge.rule !== undefined) (receipts ??= [...tallies])[index] = { ...tally, receipt };
    }
    return receipts ?? tallies;
  }

  adjust(adjustments: readonly Adjustment[]): void {
    for (const adjustment of adjustments) this.#counters.adjust(adjustment);
  }

  renew(charges: readonly Consumption[]): void {
    for (const charge of charges) this.#counters.adjust({ charge, receipt: 0, by: 1 });
  }

  /** Nobody else counts here, and what ends after the gate is given back as ever. */
  expire(): void {
    return undefined;
  }

  /** Forgets a counter. */
  forget(key: string): void {
    this.#counters.forget(key);
  }

  block(blockKey: string, lifeMs: number): void {
    this.#blocks.block(blockKey, lifeMs);
  }

  unblock(blockKey: string): void {
    this.#blocks.unblock(blockKey);
  }

  /** Milliseconds until a block ends; 0 for a client who is not blocked. */
  blockedMs(blockKey: string): number {
    return this.#blocks.blockedMs(blockKey);
  }

  #strike(charge: Consumption): number {
    const { blockKey, rule } = charge;
    if (blockKey === undefined || rule?.block === undefined || rule.block.after === 0) return 0;
    return this.#blocks.strike(charge, blockKey, rule.block);
  }
}
