// Read at import, so that a test that replaces them later does not stop the clock.
const realDate = Date;
const monotonic = performance.now.bind(performance);
const { timeOrigin } = performance;

/**
 * Milliseconds since 1970 as the process knew them at its start, counted by the monotonic clock: NTP or an operator who
 * sets the wall clock moves it neither forwards nor backwards. For durations inside this process, never for times that
 * another process or a token names. Fake timers replace `Date`; then it follows them, so that tests can move limits.
 */
export function steadyNow(): number {
  return Date === realDate ? timeOrigin + monotonic() : Date.now();
}
