import { Breaker } from "../../../packages/core/src/lib/breaker.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { Batcher } from "../../../packages/core/src/store/redis/batcher.js";

export type Reply = string | StoreFault;

export interface Sent {
  readonly items: readonly number[];
  readonly succeed: () => void;
  readonly resolve: (answers: readonly Reply[]) => void;
  readonly reject: (error: unknown) => void;
}

export interface BatcherSettings {
  readonly deadlineMs?: number;
  readonly maxBatch?: number;
  readonly breaker?: Breaker;
  readonly settle?: (item: number, answer: Reply) => void;
}

/** A batcher whose other side answers when told to, and as told. */
export function openBatcher({
  deadlineMs = 10_000,
  maxBatch = 4,
  breaker = new Breaker({ name: "test" }),
  settle = () => undefined,
}: BatcherSettings = {}) {
  const state = { ready: true, sent: [] as Sent[], underWay: 0, mostUnderWay: 0 };
  const batcher = new Batcher<number, string>({
    breaker,
    settle,
    deadlineMs,
    maxBatch,
    maxInFlight: 2,
    wait: {
      get ms() {
        return state.ready ? 0 : deadlineMs;
      },
      get isOver() {
        return state.ready;
      },
    },
    send(items) {
      state.underWay += 1;
      state.mostUnderWay = Math.max(state.mostUnderWay, state.underWay);
      return new Promise<readonly Reply[]>((resolve, reject) => {
        state.sent.push({ items, resolve, reject, succeed: () => resolve(items.map((item) => `answer ${item}`)) });
      }).finally(() => (state.underWay -= 1));
    },
  });
  return { batcher, breaker, state, ask: async (item: number) => batcher.ask(item) };
}

export function range(count: number, start = 0): number[] {
  return Array.from({ length: count }, (_, index) => start + index);
}

export function kinds(answers: readonly Reply[]): string[] {
  return answers.map((answer) => (answer instanceof StoreFault ? answer.kind : answer));
}
