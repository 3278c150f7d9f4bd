import { setTimeout as sleep } from "node:timers/promises";
import { applications } from "../settings.js";
import type { Dice } from "../random.js";
import { ask } from "./world.js";
import type { Client, World } from "./world.js";

const processes = applications.length;
const attempts = 6;

/** A client that clicks twice, leaves, and sends its order again with the same key until it is answered. */
export function createBuyer(world: () => World, number: number): Client {
  const name = `buyer-${number}`;
  let round = 0;
  return {
    name,
    pauseMs: 300,
    async step(own) {
      round += 1;
      const key = `${world().part.replaceAll(" ", "-")}-${name}-${round}`;
      const workMs = own.between(5, 400);
      for (let attempt = 0; attempt < attempts; attempt += 1) {
        const clicks = own.chance(0.4) ? 2 : 1;
        const sent = Array.from({ length: clicks }, () => placeOrder(world(), name, { key, workMs }, own));
        const answers = await Promise.all(sent);
        if (answers.includes(200) && !own.chance(0.5)) return;
        await sleep(own.between(0, 1500));
      }
    },
  };
}

async function placeOrder(
  world: World,
  client: string,
  { key, workMs }: { readonly key: string; readonly workMs: number },
  own: Dice,
): Promise<number> {
  const { operation } = await ask(world, client, {
    ...{ name: "order", method: "POST", path: "/orders", process: own.between(0, processes - 1) },
    headers: { "idempotency-key": key, "x-account": client, "x-key": key, "x-work": workMs },
    leaveAfterMs: own.chance(0.15) ? own.between(1, 400) : undefined,
    args: { key },
  });
  return operation.status;
}

/** Places an order at every process, twice, when everything is well again. */
export async function orderEverywhere(world: World, own: Dice): Promise<void> {
  for (let process = 0; process < processes; process += 1) {
    const key = `${world.part.replaceAll(" ", "-")}-looker-${process}`;
    for (let attempt = 0; attempt < 2; attempt += 1) await placeOrder(world, "looker", { key, workMs: 5 }, own);
  }
}
