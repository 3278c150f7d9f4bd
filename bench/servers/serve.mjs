import { Server, createServer } from "node:http";

/** What every target's server is made with. */
export const serverOptions = { keepAliveTimeout: 60_000 };

/**
 * Listens on a free loopback port and says so to the runner. Answers its questions over the same channel, so that
 * nothing but the load comes in by HTTP, and ends with it.
 *
 * @param {import("node:http").RequestListener | Server} target
 * @param {() => object} more what else to tell when asked for the usage
 */
export function serve(target, more = () => ({})) {
  let handled = 0;
  const server = target instanceof Server ? target : createServer(serverOptions, target);
  server.prependListener("request", function count() {
    handled += 1;
  });
  const addresses = Number(process.env.BENCH_ADDRESSES ?? 0);
  if (addresses > 0) server.prependListener("connection", giveAddress(addresses));
  server.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => {
    process.send({ ready: server.address().port });
  });

  const answers = {
    usage() {
      const { user, system } = process.cpuUsage();
      return { usage: { cpuUs: user + system, handled, atMs: performance.now(), ...more() } };
    },
    heap() {
      globalThis.gc?.();
      return { heap: process.memoryUsage().heapUsed };
    },
    async profile() {
      await (await import("./profiler.mjs")).start();
      return { profiling: true };
    },
    async profiled() {
      return { profile: await (await import("./profiler.mjs")).stop() };
    },
    end: () => process.exit(0),
  };
  process.on("message", async (message) => process.send(await answers[message]()));
  process.on("disconnect", () => process.exit(0));
}

/**
 * Clients of wrk all come from one address. This makes the connections look as if they came from so many, in turn: Node
 * asks the system for the address of a socket once, and remembers it there.
 */
function giveAddress(count) {
  let next = 0;
  return function rename(socket) {
    next = (next + 1) % count;
    const address = `127.0.1.${1 + next}`;
    socket._peername = { address, family: "IPv4", port: socket.remotePort };
    if (socket.remoteAddress !== address) throw new Error("this Node does not remember addresses of sockets");
  };
}
