import type { Adjustment, Consumption, UsageCorrections, CounterState } from "../ports/decisions.js";
import { blockedState, exceeds, refuses } from "../ports/decisions.js";
import { BlockTable } from "./blocks.js";
import type { BoundedTableOptions } from "./bounded.js";
import { CounterTable } from "./counters.js";

/** Counters and blocks of this process, with their corrections. */
export class MemoryCorrections implements UsageCorrections {
  readonly #counters: CounterTable;
  readonly #blocks: BlockTable;

  constructor(options: BoundedTableOptions) {
    this.#counters = new CounterTable(options);
    this.#blocks = new BlockTable(options.now);
  }

  /** Returns the counter states with the consumptions, without counting them. */
  peek(consumptions: readonly Consumption[]): CounterState[] {
    const states: CounterState[] = [];
    for (const consumption of consumptions) {
      const blockedMs = consumption.blockKey === undefined ? 0 : this.#blocks.blockedMs(consumption.blockKey);
      states.push(blockedMs > 0 ? blockedState(consumption, blockedMs) : this.#counters.peek(consumption));
    }
    return states;
  }

  /** The counter states that a request would get, with the block that its refusal would begin. Changes nothing. */
  preview(consumptions: readonly Consumption[]): CounterState[] {
    return this.peek(consumptions).map((state, index) => {
      const consumption = consumptions[index];
      if (consumption === undefined || !exceeds(consumption, state)) return state;
      const blockedMs = this.#blocks.preview(consumption);
      return blockedMs > 0 ? blockedState(consumption, blockedMs) : state;
    });
  }

  /**
   * Do these consumptions refuse their request? Notes refusals. If that blocks the client, the block is in the states.
   */
  refuse(consumptions: readonly Consumption[], states: CounterState[]): boolean {
    let refused = false;
    for (let index = 0; index < consumptions.length; index += 1) {
      const consumption = consumptions[index];
      const state = states[index];
      if (consumption === undefined || state === undefined || !exceeds(consumption, state)) continue;
      refused ||= refuses(consumption, state);
      const blockedMs = state.blocked === true ? this.#extend(consumption) : this.#strike(consumption);
      if (blockedMs > 0) states[index] = blockedState(consumption, blockedMs);
    }
    return refused;
  }

  /** Counts consumptions. Returns their states; a state has a receipt if the consumption has a counting mode. */
  count(consumptions: readonly Consumption[], states: readonly CounterState[]): readonly CounterState[] {
    let receipts: CounterState[] | undefined;
    for (let index = 0; index < consumptions.length; index += 1) {
      const consumption = consumptions[index];
      const state = states[index];
      // A consumption over its limit is in shadow here, and is not counted.
      if (consumption === undefined || state === undefined || exceeds(consumption, state)) continue;
      const receipt = this.#counters.count(consumption);
      if (consumption.mode !== undefined) (receipts ??= [...states])[index] = { ...state, receipt };
    }
    return receipts ?? states;
  }

  adjust(adjustments: readonly Adjustment[]): void {
    for (const adjustment of adjustments) this.#counters.adjust(adjustment);
  }

  renew(consumptions: readonly Consumption[]): void {
    for (const consumption of consumptions) this.#counters.adjust({ consumption: consumption, receipt: 0, by: 1 });
  }

  /** Does nothing: the counters end with the process. */
  expire(): void {
    return undefined;
  }

  /** Deletes a counter. */
  forget(key: string): void {
    this.#counters.forget(key);
  }

  block(blockKey: string, lifeMs: number): void {
    this.#blocks.block(blockKey, lifeMs);
  }

  unblock(blockKey: string): void {
    this.#blocks.unblock(blockKey);
  }

  /** Milliseconds until a block ends; 0 for a client that is not blocked. */
  blockedMs(blockKey: string): number {
    return this.#blocks.blockedMs(blockKey);
  }

  #extend({ blockKey, mode }: Consumption): number {
    if (blockKey === undefined || mode?.block?.extends !== true || mode.block.after === 0) return 0;
    return this.#blocks.extend(blockKey, mode.block);
  }

  #strike(consumption: Consumption): number {
    const { blockKey, mode } = consumption;
    if (blockKey === undefined || mode?.block === undefined || mode.block.after === 0) return 0;
    return this.#blocks.strike(consumption, blockKey, mode.block);
  }
}
