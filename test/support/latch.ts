import { until } from "./until.js";

/** Holds handlers until it is opened. */
export interface Latch {
  /** A handler. */
  readonly wait: () => Promise<{ held: true }>;
  /** How many have been held. */
  readonly held: () => number;
  /** Resolves when so many are held. */
  waiting(count: number): Promise<void>;
  readonly open: () => void;
}

export function openLatch(): Latch {
  let held = 0;
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return {
    async wait() {
      held += 1;
      await opened;
      return { held: true };
    },
    held: () => held,
    waiting: (count) => until(() => held >= count),
    open: () => open(),
  };
}
