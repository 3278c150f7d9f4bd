// Read at import, so that a test that replaces these globals later does not stop the clock.
const realDate = Date;
const monotonic = performance.now.bind(performance);
const { timeOrigin } = performance;

/**
 * Unix milliseconds by a monotonic clock: the wall clock at the start of the process plus the elapsed time. A change of the wall
 * clock, by NTP or an operator, does not affect it. Use it for durations inside this process, never for times of another process
 * or a token. If fake timers replace `Date`, it follows them, so that tests can move time.
 */
export function steadyNow(): number {
  return Date === realDate ? timeOrigin + monotonic() : Date.now();
}
