import type { ConsumptionGroup } from "../store/ports/decide.js";
import { decide } from "../store/ports/decide.js";
import type {
  Answer,
  Consumption,
  CounterState,
  DecisionStore,
  Question,
  TokenQuestion,
} from "../store/ports/decisions.js";
import { exceeds, isCutOff, someRefuses } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import type { StoreInspection } from "../store/ports/inspection.js";
import type { FoundRecords } from "../store/ports/revocation.js";
import { stateOf } from "../store/ports/revocation.js";

/** Is told what a preview has read. */
export interface PreviewListener {
  states(consumptions: readonly Consumption[], states: readonly (CounterState | StoreFault)[]): void;
  records(records: FoundRecords): void;
  answer(question: Question, answer: Answer): void;
}

/** Answers questions as the store would, from what it reads: in the order of `decide`, and without counting. */
export class PreviewStore implements DecisionStore {
  readonly #inspection: StoreInspection;
  readonly #listener: PreviewListener;

  constructor(inspection: StoreInspection, listener: PreviewListener) {
    this.#inspection = inspection;
    this.#listener = listener;
  }

  async ask(question: Question): Promise<Answer> {
    const { beforeToken, token, afterToken } = question;
    const consumptions = [...beforeToken, ...afterToken];
    const [states, records] = await Promise.all([
      this.#inspection.counters(consumptions),
      token === undefined ? undefined : this.#inspection.records([token.revokedKey, ...token.cutoffKeys]),
    ]);
    this.#listener.states(consumptions, states);
    if (records !== undefined) this.#listener.records(records);
    const before = new ReadGroup(beforeToken, states.slice(0, beforeToken.length));
    const after = new ReadGroup(afterToken, states.slice(beforeToken.length));
    const answer = decide({ ...question, replayCheck: undefined }, before, after, {
      findRevocation: (asked) => this.#findRevocation(asked, records),
      checkReplay: () => undefined,
    });
    this.#listener.answer(question, answer);
    return answer;
  }

  #findRevocation(token: TokenQuestion, records: FoundRecords | undefined): Pick<Answer, "revoked" | "cutoff"> {
    const { found, fault } = records ?? { found: new Map<string, number | undefined>(), fault: undefined };
    const state = stateOf(token, found);
    if (found.has(token.revokedKey)) return { revoked: true };
    if (state === "session_ended") {
      const cutoffs = token.cutoffKeys.map((key) => found.get(key) ?? Number.NEGATIVE_INFINITY);
      return { revoked: true, cutoff: Math.max(...cutoffs.filter((cutoff) => isCutOff(token, cutoff))) };
    }
    if (state === "unreadable") return { revoked: new StoreFault("unreadable", "WRONGTYPE") };
    return { revoked: fault ?? this.#inspection.doubt() ?? false };
  }
}

/** Consumptions with the states that a request would get. */
class ReadGroup implements ConsumptionGroup {
  readonly #consumptions: readonly Consumption[];
  readonly #states: readonly (CounterState | StoreFault)[];

  constructor(consumptions: readonly Consumption[], states: readonly (CounterState | StoreFault)[]) {
    this.#consumptions = consumptions;
    this.#states = states;
  }

  refuses(): boolean {
    return someRefuses(this.#consumptions, this.#states);
  }

  count(): readonly (CounterState | StoreFault)[] {
    return this.#states;
  }

  /** Counters over their limit include the request, the others do not. */
  leave(): (CounterState | StoreFault)[] {
    return this.#states.map((state, index) => {
      const consumption = this.#consumptions[index];
      if (state instanceof StoreFault || consumption === undefined || exceeds(consumption, state)) return state;
      return { ...state, consumed: state.consumed - consumption.cost };
    });
  }

  skip(): undefined[] {
    return this.#consumptions.map(() => undefined);
  }
}
