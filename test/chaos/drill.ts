import { setTimeout as sleep } from "node:timers/promises";
import { signIn } from "./clients/session.js";
import type { SignIn } from "./clients/session.js";
import { addressOf, ask } from "./clients/world.js";
import type { World } from "./clients/world.js";
import { monotonicMs } from "./history.js";
import { applications, guesses, slots } from "./settings.js";
import type { Topology } from "./topologies/topology.js";

/** As many right passwords as wrong ones would lock somebody out. */
const attempts = guesses + 1;
/** So far apart, the connections are back, and no breaker opens. */
const apartMs = 1200;

export function drilled({ part }: World, number: number): SignIn {
  const subject = `drilled-${number}`;
  return { client: "drilled", subject, from: addressOf(800_000 + number), label: `${part} ${subject}` };
}

/**
 * Signs somebody in again and again, and each time only the answer about the session is lost. Under load a lost answer
 * takes others with it, so that a random fault seldom fails a sign-in alone.
 */
export async function loseSignIns(world: World, { ways }: Topology, number: number): Promise<void> {
  const start = monotonicMs();
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    for (const { proxy } of ways) proxy.cutAfter(":sessions:");
    await signIn(world, attempt, drilled(world, number));
    await sleep(apartMs);
  }
  for (const { proxy } of ways) proxy.cutAfter("");
  world.recorder.note({
    ...{ type: "fault", kind: "replies to sign-ins are lost", start, end: monotonicMs(), what: "redis", loses: false },
    processes: applications.map((_, index) => index),
  });
}

/** Shorter than it takes to promote a replica. */
const awayMs = 400;
const workMs = 600;

export function drilledKey({ part }: World): string {
  return `${part.replaceAll(" ", "-")}-drilled`;
}

/** Lets requests end behind limits while Redis is away: what they have to give back is given back later. */
export async function loseReleases(world: World, { ways, settled }: Topology): Promise<void> {
  const key = drilledKey(world);
  const requests = (["slots", "settled", "failures"] as const).flatMap((policy) =>
    Array.from({ length: slots.limit }, (_, process) =>
      ask(world, "drilled", {
        ...{ name: policy, path: `/${policy}`, process, headers: { "x-key": key, "x-work": workMs } },
        args: { policy, key },
      }),
    ),
  );
  await sleep(workMs - awayMs / 2);
  const start = monotonicMs();
  for (const { proxy } of ways) {
    proxy.mode = "refuse";
    proxy.reset();
  }
  await sleep(awayMs);
  for (const { proxy } of ways) proxy.mode = "pass";
  world.recorder.note({
    ...{
      type: "fault",
      kind: "requests end while Redis is away",
      start,
      end: monotonicMs(),
      what: "redis",
      loses: false,
    },
    processes: applications.map((_, index) => index),
  });
  await Promise.all(requests);
  await settled();
}

/** Loses the answer to a lease of the cache: nobody makes the value, and nobody waits for one who would. */
export async function loseLease(world: World, { ways }: Topology): Promise<void> {
  const key = drilledKey(world);
  async function read(process: number): Promise<void> {
    await ask(world, "drilled", {
      ...{ name: "cached", path: "/cached", process, headers: { "x-key": key, "x-work": 20 } },
      args: { thing: `cached ${key}` },
    });
  }
  const start = monotonicMs();
  for (const { proxy } of ways) proxy.cutAfter(":making:");
  const first = read(0);
  await sleep(60);
  for (const { proxy } of ways) proxy.cutAfter("");
  world.recorder.note({
    ...{ type: "fault", kind: "the reply to a lease is lost", start, end: monotonicMs(), what: "redis", loses: false },
    processes: applications.map((_, index) => index),
  });
  await Promise.all([first, ...applications.slice(1).map((_, index) => read(index + 1))]);
}
