import type { Dice } from "../random.js";
import { applications } from "../settings.js";
import { ask } from "./world.js";
import type { Client, World } from "./world.js";

const names = ["a", "b", "c", "d"];

async function lock(world: World, client: string, name: string, key: string, own: Dice): Promise<void> {
  await ask(world, client, {
    ...{ name, method: "POST", path: "/locked", process: own.between(0, applications.length - 1) },
    headers: { "x-key": key, "x-work": own.between(0, 60) },
    leaveAfterMs: name === "locked" && own.chance(0.1) ? own.between(1, 100) : undefined,
    args: { key },
  });
}

/** A client that increments counters behind locks, sometimes two at once. */
export function createLocker(world: () => World, number: number): Client {
  const name = `locker-${number}`;
  return {
    name,
    pauseMs: 120,
    async step(own) {
      const key = own.chance(0.3) ? `${own.pick(names)} ${own.pick(names)}` : own.pick(names);
      await lock(world(), name, "locked", key, own);
    },
  };
}

/** Takes each lock once, when everything is well again. */
export async function tryLocks(world: World, own: Dice): Promise<void> {
  for (const key of names) await lock(world, "looker", "free-lock", key, own);
}
