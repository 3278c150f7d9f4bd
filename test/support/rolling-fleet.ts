// Three processes that share a port, which are replaced one after the other, as a process manager does.
import cluster from "node:cluster";
import type { Worker } from "node:cluster";
import { once } from "node:events";
import { portcullis } from "@portcullis/express";
import type { ExpressOptions } from "@portcullis/express";
import express from "express";
import { silentLogger } from "./logger.js";

/** What the fleet is told over IPC, first of all. */
export interface FleetOrder {
  readonly options: ExpressOptions;
  /** How long a process waits between `drain()` and the end of its server. */
  readonly pauseMs: number;
}

/** What the fleet answers, when it has begun and when every process was replaced. */
export interface FleetReport {
  readonly port: number;
  /** How long each process took to stop, and how it ended. */
  readonly stops: readonly { readonly ms: number; readonly code: number | null }[];
}

const size = 3;

function runWorker({ options, pauseMs }: FleetOrder): void {
  const gate = portcullis({ ...options, logger: silentLogger });
  const app = express();
  app.set("env", "test");
  app.use(gate.routes.health());
  app.use(gate.guard());
  app.get("/me", async (req, res) => res.json(await req.cache.getOrSet({ key: "k", shared: true }, () => process.pid)));
  // The primary gives all of them the same port.
  const server = app.listen(0, "127.0.0.1");

  // As docs/operations.md says.
  process.once("SIGTERM", () => {
    gate.drain();
    setTimeout(() => {
      server.close(() => void gate.close().then(() => process.disconnect()));
      setTimeout(() => server.closeAllConnections(), 10_000).unref();
    }, pauseMs);
  });
}

async function runPrimary(order: FleetOrder): Promise<void> {
  let port = 0;

  async function fork(): Promise<Worker> {
    const worker = cluster.fork({ FLEET_ORDER: JSON.stringify(order) });
    const [address] = (await once(worker, "listening")) as [{ port: number }];
    port = address.port;
    return worker;
  }

  async function replace(worker: Worker): Promise<FleetReport["stops"][number]> {
    await fork();
    const start = performance.now();
    worker.process.kill("SIGTERM");
    const [code] = (await once(worker, "exit")) as [number | null];
    return { ms: performance.now() - start, code };
  }

  function tell(stops: FleetReport["stops"]): void {
    process.send?.({ port, stops } satisfies FleetReport);
  }

  const workers = [await fork()];
  while (workers.length < size) workers.push(await fork());
  tell([]);
  await once(process, "message");
  const stops = [];
  for (const worker of workers) stops.push(await replace(worker));
  tell(stops);
}

if (cluster.isPrimary) process.once("message", (order: FleetOrder) => void runPrimary(order));
else runWorker(JSON.parse(process.env.FLEET_ORDER ?? "") as FleetOrder);
