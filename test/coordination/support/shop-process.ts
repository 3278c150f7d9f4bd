import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import type { IdempotencyOptions } from "@portcullis/core";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { silentLogger } from "../../support/logger.js";

/** What a process of a shop is told. */
export interface ShopOrder {
  readonly adapter: number;
  readonly redis: string;
  readonly prefix: string;
  readonly options: IdempotencyOptions;
  /** Where executions are counted, and under which key. */
  readonly ledger: { readonly url: string; readonly key: string };
  /** How long an order takes. */
  readonly workMs: number;
}

let running: RunningApp | undefined;
let ledger: Redis | undefined;

/** A process with a shop of its own: each order is counted before it takes its time. */
process.on("message", (message: ShopOrder | "close") => {
  if (message === "close") return void close();
  void open(message);
});

async function open(order: ShopOrder): Promise<void> {
  const counter = (ledger = new Redis(order.ledger.url));
  running = await adapters[order.adapter % adapters.length]?.start({
    options: { redis: order.redis, prefix: order.prefix, service: "shop", deadline: 2000, logger: silentLogger },
    use: (gate) => [gate.idempotency({ ...order.options, caller: () => "alice" })],
    routes: {
      "POST /orders": async () => {
        const number = await counter.incr(order.ledger.key);
        await sleep(order.workMs);
        return { order: number };
      },
    },
  });
  process.send?.({ url: running?.url });
}

async function close(): Promise<void> {
  await running?.close();
  ledger?.disconnect();
  process.disconnect();
}
