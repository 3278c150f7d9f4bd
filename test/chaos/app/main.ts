import { setClockAhead } from "./clock.js";
import { subscribe } from "node:diagnostics_channel";
import { inspect } from "node:util";
import { allAdapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { silentLogger } from "../../support/logger.js";
import { watchPauses } from "../busy.js";
import { monotonicMs } from "../history.js";
import { applications, localTtlMs, secretOf, stalenessMs, tokenAudience, tokenIssuer } from "../settings.js";
import type { Order } from "./messages.js";
import { lead, middleware, routes } from "./routes.js";
import { hearSource, tell } from "./source.js";

/** A process of its own with one application, which is asked over HTTP. It ends by itself after SIGTERM. */
let running: RunningApp | undefined;

/** Degradations of one part are told only so often. */
const tellEveryMs = 100;
const toldAt = new Map<string, number>();

subscribe("portcullis:degraded", (message) => {
  const { part, policy = "" } = message as { part: string; policy?: string };
  const name = `${part} ${policy}`.trim();
  const at = monotonicMs();
  if (at - (toldAt.get(name) ?? -Infinity) < tellEveryMs) return;
  toldAt.set(name, at);
  tell({ type: "degradation", at, part: name });
});

process.on("unhandledRejection", (reason) =>
  tell({ type: "complaint", text: `unhandled rejection: ${inspect(reason)}` }),
);
process.on("warning", (warning) => {
  if (warning.name !== "ExperimentalWarning")
    tell({ type: "complaint", text: warning.stack ?? `${warning.name}: ${warning.message}` });
});

async function start({ process: index, redis, seed, replicas }: Extract<Order, { type: "start" }>): Promise<void> {
  const adapter = allAdapters.find(({ name }) => name === applications[index]);
  const secret = secretOf(seed);
  running = await adapter?.start({
    behindProxy: true,
    options: {
      redis,
      keySecret: secret,
      deadline: 300,
      instances: applications.length,
      logger: silentLogger,
      tokens: { signingKey: secret, issuer: tokenIssuer, audience: tokenAudience },
      // Half of the processes keep the answer that a token is not revoked.
      revocation: index % 2 === 0 ? { check: "asked" } : { check: "tracked", staleness: stalenessMs },
      limits: [{ name: "user", per: "user", limit: 1_000_000, window: "1h" }],
      cache: { local: { ttl: localTtlMs }, tracked: ["tracked"] },
    },
    use: middleware,
    routes: routes(replicas),
  });
  if (running !== undefined) {
    lead(running.gate);
    running.gate.connections.onDegraded((isDegraded) =>
      tell({ type: "reach", at: monotonicMs(), reached: !isDegraded }),
    );
  }
  tell({ type: "listening", url: running?.url ?? "" });
}

watchPauses((from, until) => tell({ type: "busy", start: from, end: until }));

process.on("message", (order: Order) => {
  if (order.type === "start") void start(order);
  if (order.type === "clock") setClockAhead(order.aheadMs);
  if (order.type === "measure") {
    const openConnections = running?.gate.connections.open ?? 0;
    tell({ type: "measured", heapBytes: process.memoryUsage().heapUsed, openConnections });
  }
  if (order.type === "version") hearSource(order);
});

let stopping: Promise<void> | undefined;

async function stop(): Promise<void> {
  running?.gate.drain();
  await running?.close();
  // Only now does nothing of the test's own keep the process alive.
  if (process.connected) process.disconnect();
}

process.on("SIGTERM", () => void (stopping ??= stop()));
// Without the test nobody would end it.
process.on("disconnect", () => void (stopping ??= stop()));
