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
  server.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => {
    process.send({ ready: server.address().port });
  });

  const answers = {
    usage() {
      const { user, system } = process.cpuUsage();
      return { usage: { cpuUs: user + system, handled, ...more() } };
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
