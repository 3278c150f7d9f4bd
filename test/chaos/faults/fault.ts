import type { Fault } from "../history.js";
import type { Dice } from "../random.js";

/** A fault that has begun. */
export interface Begun {
  readonly what: Fault["what"];
  /** Application processes that it touches. */
  readonly processes: readonly number[];
  readonly holdMs: number;
  undo(): Promise<void>;
  /** May it make another server the master? Otherwise nobody looks for one. @default false */
  readonly promotes?: "safe" | "unsafe";
}

/** A kind of fault. `begin` chooses by the dice only; it is rolled anew for each. */
export interface FaultKind {
  readonly name: string;
  /** How often, against the others. @default 1 */
  readonly weight?: number;
  begin(dice: Dice): Promise<Begun>;
}

export function pickKind(kinds: readonly FaultKind[], dice: Dice): FaultKind {
  const weighted = kinds.flatMap((kind) => Array.from({ length: kind.weight ?? 1 }, () => kind));
  return dice.pick(weighted);
}
