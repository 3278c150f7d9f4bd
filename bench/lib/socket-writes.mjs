// Counts writes to the sockets that lead to Redis: what a request costs the network, however its commands are packed.
import { Socket } from "node:net";

/**
 * Before the first connection. A write that carries many commands counts once, as it is one system call.
 *
 * @param {readonly number[]} ports of the servers to count for
 * @returns {() => number} how many there were so far
 */
export function countSocketWrites(ports) {
  const wanted = new Set(ports);
  const { _write, _writev } = Socket.prototype;
  let writes = 0;
  // What Writable calls when there is something to hand to the system.
  Socket.prototype._write = function write(...words) {
    if (wanted.has(this.remotePort)) writes += 1;
    return _write.apply(this, words);
  };
  Socket.prototype._writev = function writev(...words) {
    if (wanted.has(this.remotePort)) writes += 1;
    return _writev.apply(this, words);
  };
  return () => writes;
}
