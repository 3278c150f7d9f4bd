import { createServer } from "node:http";

/**
 * Listens on a free loopback port and says so to the runner. Answers its questions over the same channel, so that
 * nothing but the load comes in by HTTP, and ends with it.
 *
 * @param {import("node:http").RequestListener} listener
 */
export function serve(listener) {
  let handled = 0;
  const server = createServer({ keepAliveTimeout: 60_000 }, function count(req, res) {
    handled += 1;
    listener(req, res);
  });
  server.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => {
    process.send({ ready: server.address().port });
  });

  const answers = {
    usage() {
      const { user, system } = process.cpuUsage();
      return { usage: { cpuUs: user + system, handled } };
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
