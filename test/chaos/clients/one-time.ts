import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Dice } from "../random.js";
import { applications } from "../settings.js";
import { ask } from "./world.js";
import type { Client, World } from "./world.js";

const processes = applications.length;

/** A client that gets a one-time value, and consumes it at several processes at once, and again later. Some guess. */
export function createRedeemer(world: () => World, number: number): Client {
  const name = `redeemer-${number}`;
  let round = 0;

  async function consume(own: Dice, value: string, token: string): Promise<void> {
    await ask(world(), name, {
      ...{ name: "consume", method: "POST", path: "/consume", process: own.between(0, processes - 1) },
      headers: { "x-token": token },
      leaveAfterMs: own.chance(0.1) ? own.between(1, 50) : undefined,
      args: { value },
    });
  }

  return {
    name,
    pauseMs: 200,
    async step(own) {
      round += 1;
      const value = `${world().part.replaceAll(" ", "-")}-${name}-${round}`;
      if (own.chance(0.1)) return consume(own, `guess-${value}`, randomBytes(33).toString("base64url"));
      const { operation, body } = await ask(world(), name, {
        ...{ name: "issue", method: "POST", path: "/issue", process: own.between(0, processes - 1) },
        headers: { "x-value": value },
        args: { value },
      });
      const { token } = body;
      if (operation.status !== 200 || typeof token !== "string") return;
      if (own.chance(0.3)) await sleep(own.between(1, 1500));
      await Promise.all(Array.from({ length: own.between(1, 6) }, () => consume(own, value, token)));
      if (own.chance(0.3)) await sleep(own.between(1, 1500));
      await consume(own, value, token);
    },
  };
}
