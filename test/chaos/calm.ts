import { setTimeout as sleep } from "node:timers/promises";
import { readAll } from "./clients/caches.js";
import { settlerKey, slotKeys } from "./clients/limits.js";
import { tryLocks } from "./clients/locks.js";
import { orderEverywhere } from "./clients/orders.js";
import { publishMark } from "./clients/readers.js";
import type { EventReader } from "./clients/readers.js";
import { tryRules } from "./clients/rules.js";
import { signIn } from "./clients/session.js";
import type { Graveyard, Keeper } from "./clients/users.js";
import { drilled, drilledKey, loseLease, loseReleases, loseSignIns } from "./drill.js";
import { addressOf, ask } from "./clients/world.js";
import type { World } from "./clients/world.js";
import { monotonicMs } from "./history.js";
import { dice } from "./random.js";
import { applications, settleMs, slots, slotsBackMs } from "./settings.js";
import type { Topology } from "./topologies/topology.js";
import { findEndlessKeys } from "./topologies/topology.js";

export interface CalmOptions {
  readonly world: World;
  readonly topology: Topology;
  readonly keepers: readonly Keeper[];
  readonly readers: readonly EventReader[];
  readonly graveyard: Graveyard;
  readonly settlers: number;
  /** Names this time. */
  readonly number: number;
  readonly without: readonly string[];
}

/** After the faults, without other clients: looks at what must be well again, and what must have stayed as it was. */
export async function lookAfterCalm(options: CalmOptions): Promise<void> {
  const { world, topology, keepers, readers, graveyard, settlers, number, without } = options;
  const { recorder, seed, fleet } = world;
  const own = dice(seed, `${world.part} calm`);
  await topology.settled();
  if (!without.some((word) => "drill".startsWith(word))) {
    await loseSignIns(world, topology, number);
    // The connections are back, and no breaker is open, so that all of them are admitted by Redis.
    await sleep(settleMs);
    await loseReleases(world, topology);
    await sleep(settleMs);
    await loseLease(world, topology);
  }
  const start = monotonicMs();
  await sleep(settleMs);
  await tryRules(world);
  await tryLocks(world, own);
  await signInEverywhere(world, number);
  await Promise.all([
    untilSlotsAreBack(world, start, number),
    // One after the other: they are not there for load.
    (async () => {
      await readAll(world, own);
      for (const keeper of keepers) await keeper.look(world, own);
      await graveyard.visit(world, own);
      const mark = await publishMark(world, number);
      await Promise.all(readers.map((reader) => reader.look(world, own, mark)));
      await peekAtSettled(world, settlers);
      await orderEverywhere(world, own);
    })(),
  ]);
  recorder.note({ type: "calm", start, end: monotonicMs() });
  const endlessKeys = await findEndlessKeys(await topology.masters());
  const measured = await fleet.measure();
  const heapBytes = measured.map((one) => one.heapBytes);
  const openConnections = measured.map((one) => one.openConnections);
  recorder.note({ type: "audit", at: monotonicMs(), endlessKeys, heapBytes, openConnections });
}

/** Right passwords: of an account that nobody knows yet, at every process. */
async function signInEverywhere(world: World, number: number): Promise<void> {
  await signIn(world, number, drilled(world, number));
  await Promise.all(
    applications.map(async (_, process) => {
      const subject = `visitor-${number}-${process}`;
      await signIn(world, process, {
        client: "looker",
        subject,
        label: `${world.part} ${subject}`,
        from: addressOf(700_000 + number * applications.length + process),
      });
    }),
  );
}

/** Takes all slots of a key at once, until that works or should have. */
async function untilSlotsAreBack(world: World, since: number, number: number): Promise<void> {
  await Promise.all(
    [...slotKeys, drilledKey(world)].map(async (key) => {
      for (let round = 0; ; round += 1) {
        const late = monotonicMs() - since > slotsBackMs;
        const answers = await Promise.all(
          Array.from({ length: slots.limit }, (_, index) =>
            ask(world, "looker", {
              ...{ name: "all-slots", path: "/slots", process: round + index },
              headers: { "x-key": key, "x-work": 300 },
              args: { key, round: `${number} ${key} ${round}` },
            }),
          ),
        );
        if (late || answers.every(({ operation }) => operation.status === 200)) return;
        await sleep(1000);
      }
    }),
  );
}

/** What requests are found to have cost in the end. */
async function peekAtSettled(world: World, settlers: number): Promise<void> {
  const keys = Array.from({ length: settlers }, (_, settler) => settlerKey(world, settler));
  for (const [process, key] of [...keys, drilledKey(world)].entries()) {
    for (const policy of ["settled", "failures"]) {
      await ask(world, "looker", {
        ...{ name: "peek", path: "/peek", process },
        headers: { "x-key": key, "x-policy": policy },
        args: { policy, key },
      });
    }
  }
}
