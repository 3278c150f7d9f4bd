import { cleanUp } from "./clean-up.js";

const tickMs = 10;
/** More than this between two ticks is the machine's doing, and nobody's waiting. */
const mostMs = 30;

/**
 * A clock in milliseconds that stands still while this process gets no turn. What waits in vain grows old by it as by any
 * other; what is only slow because the machine is busy does not. It runs until the test is over.
 */
export function startLoopClock(): () => number {
  let elapsed = 0;
  let last = performance.now();
  function tick(): void {
    const now = performance.now();
    elapsed += Math.min(now - last, mostMs);
    last = now;
  }
  const timer = setInterval(tick, tickMs);
  cleanUp(() => clearInterval(timer));
  return () => {
    tick();
    return elapsed;
  };
}
