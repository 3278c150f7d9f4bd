// A process that serves streams of events. It is asked over IPC how much memory it uses.
import { createServer } from "node:http";
import express from "express";
import { portcullis } from "../../packages/express/dist/index.js";
import { eventGateOptions, everybody, ordersOf } from "../events.mjs";

const gate = portcullis(eventGateOptions());
const app = express();
app.use(
  gate.guard(),
  gate.events({ channel: ordersOf(gate), topics: ({ auth }) => [auth.subject, everybody], retry: 100 }),
);
const server = createServer(app);
server.listen(Number(process.env.PORT), "127.0.0.1", 4096, () => process.send({ port: server.address().port }));

process.on("message", async (message) => {
  if (message === "memory") {
    globalThis.gc();
    const { rss, heapUsed, external } = process.memoryUsage();
    process.send({ memory: { rss, heap: heapUsed + external, open: gate.connections.open } });
  } else if (message === "end") {
    server.closeAllConnections();
    server.close();
    await gate.close();
    process.disconnect();
  }
});
