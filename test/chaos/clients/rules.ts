import { setTimeout as sleep } from "node:timers/promises";
import { applications } from "../settings.js";
import { ask } from "./world.js";
import type { Client, World } from "./world.js";

function keysOf({ part }: World): { readonly blocked: string; readonly overridden: string } {
  const name = part.replaceAll(" ", "-");
  return { blocked: `eve-${name}`, overridden: `bob-${name}` };
}

/** Blocks one client and gives another a limit of its own; once in a part of a run, since each change mends all processes. */
export async function makeRules(world: World): Promise<void> {
  const { blocked, overridden } = keysOf(world);
  for (const [name, key] of [
    ["block", blocked],
    ["override", overridden],
  ] as const) {
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const { operation } = await ask(world, "operator", {
        ...{ name, method: "POST", path: `/${name}`, process: attempt, headers: { "x-key": key }, args: { key } },
      });
      if (operation.status === 204) break;
      await sleep(200);
    }
  }
}

/** A client that is blocked, or has a limit of its own. */
export function createRuled(world: () => World, number: number): Client {
  const name = `ruled-${number}`;
  return {
    name,
    pauseMs: 300,
    async step(own) {
      const keys = keysOf(world());
      await askRuled(world(), name, own.pick([keys.blocked, keys.overridden]), own.between(0, applications.length - 1));
    },
  };
}

async function askRuled(world: World, client: string, key: string, process: number): Promise<void> {
  await ask(world, client, { name: "ruled", path: "/ruled", process, headers: { "x-key": key }, args: { key } });
}

/** Asks every process as both. */
export async function tryRules(world: World): Promise<void> {
  for (const key of Object.values(keysOf(world))) {
    await Promise.all(applications.map((_, process) => askRuled(world, "looker", key, process)));
  }
}
