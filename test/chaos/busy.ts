import { monotonicMs } from "./history.js";

const everyMs = 50;
/** A pause of the event loop that is longer than this is noted. */
const noticedMs = 250;

/** Tells of each time in which this process did not run although it should have. Never holds the process open. */
export function watchPauses(tell: (start: number, end: number) => void): NodeJS.Timeout {
  let last = monotonicMs();
  const timer = setInterval(() => {
    const now = monotonicMs();
    if (now - last > noticedMs) tell(last, now);
    last = now;
  }, everyMs);
  return timer.unref();
}
