// Suite "locks": what it takes to take a lock that is free and to give it back, beside redlock and @verrou/core.
import { randomBytes } from "node:crypto";
import { fixed, ratio, table } from "./lib/format.mjs";
import { median, spread } from "./lib/statistics.mjs";

/** Locks that are taken and given back at the same time, each with a name of its own. */
const widths = [1, 32];

/** @returns {Promise<string>} Markdown. */
export async function runLocks({ quick, rounds, note, redis }) {
  const { openRedlock, openVerrou } = await import("./lock-peers/peers.mjs");
  const contenders = [await openOurs(redis.url), openRedlock(redis.url), openVerrou(redis.url)];
  const cycles = quick ? 320 : 1000;
  const sections = [];
  try {
    for (const width of widths) {
      const samples = new Map(contenders.map(({ name }) => [name, []]));
      // A program that takes locks all day is compiled.
      await measureAll(contenders, samples, { width, cycles: Math.max(cycles, 4000), warm: true });
      for (let round = 0; round < 3 * rounds; round += 1) {
        note(`locks: ${width} at a time, round ${round + 1}`);
        const order = round % 2 === 0 ? contenders : [...contenders].reverse();
        await measureAll(order, samples, { width, cycles, warm: false });
      }
      const head = ["", "time", "CPU", "time, us here", "CPU, us here"];
      sections.push(
        `### Take and give back, ${width} at a time: the others to ours; median of the rounds (least-most)`,
        table(
          head,
          [...samples].map(([name, own]) => describe(name, own, samples.get(contenders[0].name))),
        ),
      );
    }
  } finally {
    for (const { close } of contenders) await close();
  }
  return sections.join("\n\n");
}

async function openOurs(url) {
  const { portcullis } = await import("../packages/express/dist/index.js");
  const gate = portcullis({
    redis: url,
    service: "bench",
    prefix: `bench:${randomBytes(6).toString("hex")}:`,
    deadline: "5s",
    logger: { debug: () => undefined, warn: () => undefined },
  });
  return {
    name: "gate.locks",
    async cycle(name) {
      const lock = await gate.locks.acquire(name);
      if (!(await lock.release())) throw new Error("the lock was lost");
    },
    close: () => gate.close(),
  };
}

async function measureAll(contenders, samples, { width, cycles, warm }) {
  for (const { name, cycle } of contenders) {
    const names = Array.from({ length: width }, (_, index) => `lock-${index}`);
    const each = Math.ceil(cycles / width);
    const cpu = process.cpuUsage();
    const start = performance.now();
    await Promise.all(
      names.map(async (lock) => {
        for (let done = 0; done < each; done += 1) await cycle(lock);
      }),
    );
    const timeUs = ((performance.now() - start) * 1000) / (each * width);
    const { user, system } = process.cpuUsage(cpu);
    if (!warm) samples.get(name).push({ timeUs, cpuUs: (user + system) / (each * width) });
  }
}

/** Each contender to ours in the same round. */
function describe(name, own, ours) {
  const against = (what) => ratio(spread(own.map((one, round) => one[what] / ours[round][what])));
  return [
    name,
    against("timeUs"),
    against("cpuUs"),
    fixed(median(own.map(({ timeUs }) => timeUs)), 0),
    fixed(median(own.map(({ cpuUs }) => cpuUs)), 0),
  ];
}
