import { applications } from "../settings.js";
import type { Dice } from "../random.js";
import { ask } from "./world.js";
import type { Client, World } from "./world.js";

const processes = applications.length;
const keys = Array.from({ length: 12 }, (_, number) => String(number));
/** A reader asks one process most of the time, so that others seldom make anew what that process should. */
const faithful = 0.75;

/** What caches keep: two regions of the cache, and responses. */
const places = ["cached", "tracked", "page"] as const;
export type Place = (typeof places)[number];

/** Ways to change a thing and to end what is kept of it. */
const changes = {
  cached: ["/cached/delete", "/cached/tag"],
  tracked: ["/tracked/delete", "/tracked/tag"],
  page: ["/page", "/purge"],
} as const;

/** A page is chosen by its query, the others by a field. */
function targetOf(path: string, key: string): string {
  return path === "/page" ? `${path}?key=${key}` : path;
}

/** Reads a thing, which is found in the cache, or made by a handler that takes a moment. */
export async function readThing(
  world: World,
  client: string,
  { place, key, process }: { readonly place: Place; readonly key: string; readonly process: number },
  own: Dice,
): Promise<void> {
  await ask(world, client, {
    ...{ name: "cached", path: targetOf(`/${place}`, key), process },
    headers: { "x-key": key, "x-work": own.between(0, 60) },
    leaveAfterMs: own.chance(0.08) ? own.between(1, 60) : undefined,
    args: { thing: `${place} ${key}` },
  });
}

/** A client that reads things through caches, and sometimes changes one. */
export function createReader(world: () => World, number: number): Client {
  const name = `reader-${number}`;
  return {
    name,
    pauseMs: 200,
    async step(own) {
      const place = own.pick(places);
      const key = own.pick(keys);
      const process = own.chance(faithful) ? number % processes : own.between(0, processes - 1);
      if (own.chance(0.85)) return readThing(world(), name, { place, key, process }, own);
      const change = own.pick(changes[place]);
      await ask(world(), name, {
        ...{ name: "change", method: "POST", path: targetOf(change, key), process },
        headers: { "x-key": key },
        args: { thing: `${place} ${key}`, by: change },
      });
    },
  };
}

/** Reads everything once at every process. */
export async function readAll(world: World, own: Dice): Promise<void> {
  for (const place of places) {
    for (const key of keys) {
      await Promise.all(applications.map((_, process) => readThing(world, "looker", { place, key, process }, own)));
    }
  }
}

/** The only writer of a value, which it and others read. */
export function createWriter(world: () => World, number: number): Client {
  const name = `writer-${number}`;
  let version = 0;
  return {
    name,
    pauseMs: 300,
    async step(own) {
      const process = own.between(0, processes - 1);
      if (own.chance(0.7)) {
        await ask(world(), name, {
          ...{
            name: "written",
            path: "/written",
            process,
            headers: { "x-key": name },
            args: { thing: `written ${name}` },
          },
        });
        return;
      }
      version += 1;
      await ask(world(), name, {
        ...{ name: "write", method: "POST", path: "/written", process },
        headers: { "x-key": name, "x-version": version },
        args: { thing: `written ${name}`, version },
      });
    },
  };
}
