import { setTimeout as sleep } from "node:timers/promises";
import { signIn } from "./clients/session.js";
import type { SignIn } from "./clients/session.js";
import { addressOf } from "./clients/world.js";
import type { World } from "./clients/world.js";
import { monotonicMs } from "./history.js";
import { applications, guesses } from "./settings.js";
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
