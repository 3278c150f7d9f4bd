/** A record outlives its token by at least this: another service may forgive that much clock difference. */
const leastMarginSeconds = 300;

/** How many seconds a revocation outlives its token, where so many seconds of clock difference are forgiven here. */
export function marginSecondsFor(toleranceSeconds: number): number {
  return Math.max(Math.ceil(toleranceSeconds), leastMarginSeconds);
}
