/**
 * A clock in milliseconds that goes on only while this process has nothing to do. What waits in vain grows old by it as by
 * any other; what is only slow because the machine is busy, or this process, does not.
 */
export function startLoopClock(): () => number {
  const { idle: start } = performance.eventLoopUtilization();
  return () => performance.eventLoopUtilization().idle - start;
}
