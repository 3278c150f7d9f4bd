import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IdempotencyOptions } from "@portcullis/core";
import { Redis } from "ioredis";
import { cleanUpInTest } from "../../support/clean-up.js";
import { forkScript } from "../../support/fork.js";
import { send } from "../../support/http.js";
import type { TestAnswer } from "../../support/http.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import type { ShopOrder } from "./shop-process.js";

const script = new URL("./shop-process.ts", import.meta.url);

export interface Shops {
  readonly pids: readonly number[];
  /** Sends an order to one of the processes. */
  order(process: number, key: string): Promise<TestAnswer>;
  /** How many orders were begun, in all processes. */
  begun(): Promise<number>;
}

/** Starts processes of one service. Each begins an order by counting it in a Redis that stays. */
export async function startShops(
  count: number,
  options: IdempotencyOptions,
  { workMs, redis = testRedisUrl() }: { readonly workMs: number; readonly redis?: string },
): Promise<Shops> {
  const ledger = { url: testRedisUrl(), key: `orders:${randomUUID()}` };
  const prefix = freshPrefix();
  const counter = new Redis(ledger.url);
  cleanUpInTest(async () => {
    await counter.del(ledger.key);
    counter.disconnect();
  });
  const shops = await Promise.all(
    Array.from({ length: count }, async (_, adapter) => {
      const child = forkScript(script);
      cleanUpInTest(() => child.kill("SIGKILL"));
      child.send({ adapter, redis, prefix, options, ledger, workMs } satisfies ShopOrder);
      const [{ url }] = (await once(child, "message")) as [{ url: string }];
      return { url, pid: child.pid ?? 0 };
    }),
  );
  return {
    pids: shops.map(({ pid }) => pid),
    order: (process, key) =>
      send(`${shops[process]?.url ?? ""}/orders`, {
        ...{ method: "POST", body: '{"item":"lantern"}', headers: { "idempotency-key": key } },
      }),
    begun: async () => Number((await counter.get(ledger.key)) ?? 0),
  };
}
