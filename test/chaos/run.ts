import { setMaxListeners } from "node:events";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { watchPauses } from "./busy.js";
import { lookAfterCalm } from "./calm.js";
import { checkers } from "./checkers/index.js";
import { createReader, createWriter } from "./clients/caches.js";
import { createDropper, createHungry, createSettler, createSlotUser } from "./clients/limits.js";
import { createLocker } from "./clients/locks.js";
import { createListener } from "./clients/listeners.js";
import { createRedeemer } from "./clients/one-time.js";
import { createBuyer } from "./clients/orders.js";
import { createEventReader, createPublisher, readers as eventReaders } from "./clients/readers.js";
import { createRuled, makeRules } from "./clients/rules.js";
import { createGuesser, createKeeper, createLeaver, createSigner, Graveyard } from "./clients/users.js";
import { live } from "./clients/world.js";
import type { World } from "./clients/world.js";
import { applicationFaults } from "./faults/application.js";
import { Injector } from "./faults/injector.js";
import { redisFaults } from "./faults/redis.js";
import { busy, Fleet } from "./fleet.js";
import { historyOf, Recorder } from "./history.js";
import { printReport } from "./report.js";
import { applications } from "./settings.js";
import { topologies } from "./topologies/index.js";
import type { TopologyName } from "./topologies/topology.js";

/** Histories of runs that failed are kept here; git ignores it. */
const folder = fileURLToPath(new URL("../.tmp-chaos/", import.meta.url));

/** How long faults are made before somebody looks, and how many looks a run has at least. */
const stormMs = 40_000;

export interface RunOptions {
  readonly topology: TopologyName;
  readonly seed: number;
  /** Of faults; what is looked at afterwards comes on top. */
  readonly ms: number;
  /** Clients and faults whose names begin so are left out, to narrow a failure down. */
  readonly without: readonly string[];
}

function many<T>(count: number, create: (number: number) => T): T[] {
  return Array.from({ length: count }, (_, number) => create(number));
}

/** Runs one topology. Resolves to the number of violations. */
export async function runChaos({ topology: name, seed, ms, without }: RunOptions): Promise<number> {
  mkdirSync(folder, { recursive: true });
  const recorder = new Recorder(`${folder}${name}-${seed}.jsonl`);
  const begun = performance.now();
  function say(text: string): void {
    console.log(`${name} ${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  }
  const topology = await topologies[name]();
  const { redisFor, replicas } = topology;
  const fleet = new Fleet({ recorder, seed, replicas, redisFor });
  const everyone = applications.map((_, index) => index);
  // What this process notes late, it sent late.
  const watch = watchPauses((start, end) => recorder.note({ ...busy, start, end, processes: everyone }));
  try {
    await fleet.start();
    await storms({ topology, fleet, recorder, seed, ms, without, say });
    await fleet.stop();
  } finally {
    clearInterval(watch);
    fleet.destroy();
    await topology.stop();
    await recorder.close();
  }
  const history = historyOf(recorder.entries);
  return printReport({
    name,
    seed,
    file: recorder.file,
    history,
    violations: checkers.flatMap((check) => check(history)),
  });
}

interface Storms {
  readonly topology: Awaited<ReturnType<(typeof topologies)[TopologyName]>>;
  readonly fleet: Fleet;
  readonly recorder: Recorder;
  readonly seed: number;
  readonly ms: number;
  readonly without: readonly string[];
  readonly say: (text: string) => void;
}

async function storms({ topology, fleet, recorder, seed, ms, without, say }: Storms): Promise<void> {
  const injector = new Injector({ recorder, seed, topology, say });
  const graveyard = new Graveyard();
  let world: World = {
    seed,
    fleet,
    recorder,
    replicas: topology.replicas,
    masters: () => topology.masters(),
    part: "storm 0",
  };
  const now = (): World => world;
  const settlers = 2;
  const keepers = many(5, (number) => createKeeper(now, number));
  const readers = many(eventReaders, (number) => createEventReader(now, number));
  const isWanted = ({ name }: { readonly name: string }): boolean => !without.some((word) => name.startsWith(word));
  const clients = [
    ...keepers,
    ...many(2, (number) => createSigner(now, number)),
    ...many(4, (number) => createLeaver(now, number, graveyard)),
    createGuesser(now),
    ...many(3, (number) => createHungry(now, number)),
    ...many(4, (number) => createSlotUser(now, number)),
    ...many(settlers, (number) => createSettler(now, number)),
    createDropper(now),
    ...many(4, (number) => createReader(now, number)),
    ...many(2, (number) => createWriter(now, number)),
    ...many(2, (number) => createRuled(now, number)),
    ...many(4, (number) => createLocker(now, number)),
    ...many(3, (number) => createRedeemer(now, number)),
    ...many(3, (number) => createBuyer(now, number)),
    ...readers,
    ...many(3, (number) => createPublisher(now, number)),
    ...many(4, (number) => createListener(now, number)),
  ].filter(isWanted);
  const count = Math.max(1, Math.round(ms / stormMs));
  for (let number = 1; number <= count; number += 1) {
    world = { ...world, part: `storm ${number}` };
    const [faults, requests] = [new AbortController(), new AbortController()];
    setMaxListeners(0, requests.signal);
    await makeRules(world);
    const living = clients.map((client) => live(world, client, requests.signal));
    // Everybody is signed in, and everything has been asked for once, before something fails.
    await sleep(1500);
    const lanes = [
      injector.run("redis", redisFaults(topology).filter(isWanted), faults.signal),
      injector.run("application", applicationFaults(fleet).filter(isWanted), faults.signal),
    ];
    await Promise.race([sleep(ms / count), ...lanes]);
    faults.abort();
    await Promise.all(lanes);
    requests.abort();
    await Promise.all(living);
    say(`calm ${number} of ${count}`);
    await lookAfterCalm({ world, topology, keepers, readers, graveyard, settlers, number, without });
  }
}
