/** The wall clock of this process, which the test may set wrong. Imported before anything that keeps `Date.now`. */
const RealDate = Date;
const readClock = Date.now.bind(Date);
let aheadMs = 0;

export function setClockAhead(ms: number): void {
  aheadMs = ms;
}

function now(): number {
  return readClock() + aheadMs;
}

globalThis.Date = new Proxy(RealDate, {
  construct: (target, words: unknown[], newTarget) =>
    Reflect.construct(target, words.length === 0 ? [now()] : words, newTarget as typeof RealDate) as Date,
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === "now" ? now : (Reflect.get(target, name) as unknown)),
});
