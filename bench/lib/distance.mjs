// A process in front of a Redis that delivers every byte a millisecond later, in both directions: a Redis in another place.
// Timers of Node are too coarse for that, so it sleeps in steps of 50 us while something is on its way.
import { connect, createServer } from "node:net";

const delayMs = Number(process.env.BENCH_DELAY_MS);
const stepMs = 0.05;
const { hostname, port } = new URL(process.env.BENCH_REDIS_URL);
const clock = new Int32Array(new SharedArrayBuffer(4));

/** In the order of their arrival, which is that of their delivery. */
let underWay = [];

function deliver() {
  const now = performance.now();
  let count = 0;
  while (count < underWay.length && underWay[count].at <= now) {
    const { socket, bytes } = underWay[count];
    if (socket.writable) socket.write(bytes);
    count += 1;
  }
  underWay = underWay.slice(count);
  if (underWay.length === 0) return;
  Atomics.wait(clock, 0, 0, Math.min(stepMs, underWay[0].at - now));
  setImmediate(deliver);
}

function send(socket, bytes) {
  if (underWay.push({ at: performance.now() + delayMs, socket, bytes }) === 1) setImmediate(deliver);
}

const server = createServer({ noDelay: true }, (near) => {
  const far = connect({ port: Number(port), host: hostname, noDelay: true });
  near.on("data", (bytes) => send(far, bytes));
  far.on("data", (bytes) => send(near, bytes));
  for (const [one, other] of [
    [near, far],
    [far, near],
  ]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
});
server.listen(0, "127.0.0.1", () => process.send({ ready: server.address().port }));
process.on("message", () => process.exit(0));
process.on("disconnect", () => process.exit(0));
