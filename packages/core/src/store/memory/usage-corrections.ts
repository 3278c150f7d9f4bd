import type { Adjustment, Consumption, UsageCorrections, CounterState } from "../ports/decisions.js";
import { blockedState, exceeds, refuses } from "../ports/decisions.js";
import { BlockTable } from "./blocks.js";
import type { BoundedTableOptions } from "./bounded.js";
import { CounterTable } from "./counters.js";

/** Counters and blocks of this process: first all consumptions are looked at, then all are counted, or none. */
export class MemoryCorrections implements UsageCorrections {
  readonly #counters: CounterTable;
  readonly #blocks: BlockTable;

  constructor(options: BoundedTableOptions) {
    this.#counters = new CounterTable(options);
    this.#blocks = new BlockTable(options.now);
  }

  /** How the consumptions would stand, without counting them. */
  peek(consumptions: readonly Consumption[]): CounterState[] {
    const states: CounterState[] = [];
    for (const charge of consumptions) {
      const blockedMs = charge.blockKey === undefined ? 0 : this.#blocks.blockedMs(charge.blockKey);
      states.push(blockedMs > 0 ? blockedState(charge, blockedMs) : this.#counters.peek(charge));
    }
    return states;
  }

  /** Do these consumptions refuse their request? Notes their refusals, which may block their client: then in the states too. */
  refuse(consumptions: readonly Consumption[], states: CounterState[]): boolean {
    let refused = false;
    for (let index = 0; index < consumptions.length; index += 1) {
      const charge = consumptions[index];
      const state = states[index];
      if (charge === undefined || state === undefined || !exceeds(charge, state)) continue;
      refused ||= refuses(charge, state);
      const blockedMs = state.blocked === true ? 0 : this.#strike(charge);
      if (blockedMs > 0) states[index] = blockedState(charge, blockedMs);
    }
    return refused;
  }

  /** Counts consumptions that were not refused. Returns their states, of those with a rule with a receipt. */
  count(consumptions: readonly Consumption[], states: readonly CounterState[]): readonly CounterState[] {
    let receipts: CounterState[] | undefined;
    for (let index = 0; index < consumptions.length; index += 1) {
      const charge = consumptions[index];
      const state = states[index];
      // What is over its limit here is only measured.
      if (charge === undefined || state === undefined || exceeds(charge, state)) continue;
      const receipt = this.#counters.count(charge);
      if (charge.rule !== undefined) (receipts ??= [...states])[index] = { ...state, receipt };
    }
    return receipts ?? states;
  }

  adjust(adjustments: readonly Adjustment[]): void {
    for (const adjustment of adjustments) this.#counters.adjust(adjustment);
  }

  renew(consumptions: readonly Consumption[]): void {
    for (const charge of consumptions) this.#counters.adjust({ charge, receipt: 0, by: 1 });
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
