// Runs in a process of its own on the core of the servers: hits of each cache in turn, or its part of a stampede.
import { isDeepStrictEqual } from "node:util";
import { openContenders } from "./cache-contenders.mjs";
import { mostEntries, valueOf } from "./cache-values.mjs";

const keys = Array.from({ length: 1000 }, (_, index) => `user-${index}`);
/** Three times what a process keeps: read in turn, none is still there when its turn comes. */
const manyKeys = Array.from({ length: 3 * mostEntries }, (_, index) => `many-${index}`);
const readers = 64;
/** Callers of each process in a stampede. */
const callers = 50;
const factoryMs = 50;

const suites = { hits: measureHits, stampede: joinStampede };

process.on("disconnect", () => process.exit(0));
process.on("message", async (message) => {
  if (message === "end") process.exit(0);
  process.send({ [message.suite]: await suites[message.suite](message) });
});

/** @returns {Promise<{ name: string, kind: string, samples: { cpuNs: number, wallNs: number }[] }[]>} a read, awaited */
async function measureHits({ redis, run, rounds, sampleMs }) {
  const contenders = await openContenders(redis, run);
  const operations = [];
  for (const contender of contenders) {
    await contender.seed(keys);
    for (const kind of ["local", "remote"].filter((one) => one in contender)) {
      for (const key of keys.slice(0, 20)) expectValue(contender, kind, key, await contender[kind](key));
    }
    if (contender.local !== undefined)
      operations.push({ name: contender.name, kind: "local", take: (count) => readInTurn(contender.local, count) });
    if (contender.remote !== undefined)
      operations.push({ name: contender.name, kind: "remote", take: readTogether(contender.remote, keys) });
    if (contender.memo !== undefined) {
      for (const key of keys) await contender.memo(key);
      operations.push({ name: contender.name, kind: "memo", take: (count) => readInTurn(contender.memo, count) });
    }
  }
  // Others of their own: these would push the keys above out of process.
  const [crowded, rest] = divide(await openContenders(redis, `${run}m`), ({ tiers }) => tiers === 2);
  for (const { close } of rest) await close();
  for (const contender of crowded) {
    await contender.seed(manyKeys);
    expectValue(contender, "local", manyKeys[0], await contender.local(manyKeys[0]));
    operations.push({ name: contender.name, kind: "beyond", take: readTogether(contender.local, manyKeys) });
  }
  operations.push({
    name: "an awaited resolved promise",
    kind: "floor",
    take: (count) => readInTurn(() => resolved, count),
  });
  for (const operation of operations) operation.count = await calibrate(operation, sampleMs);
  const rows = operations.map(({ name, kind }) => ({ name, kind, samples: [] }));
  for (let round = 0; round < rounds; round += 1) {
    const order = operations.map((_, index) => index);
    if (round % 2 === 1) order.reverse();
    for (const index of order) rows[index].samples[round] = await measure(operations[index]);
  }
  for (const { close } of [...contenders, ...crowded]) await close();
  return rows;
}

function divide(all, isChosen) {
  return [all.filter(isChosen), all.filter((one) => !isChosen(one))];
}

const resolved = Promise.resolve(1);

function expectValue({ name }, kind, key, value) {
  if (isDeepStrictEqual(value, valueOf(key))) return;
  throw new Error(`${name} does not have the value (${kind}): a benchmark of misses would be a benchmark of nothing`);
}

async function readInTurn(read, count) {
  for (let call = 0; call < count; call += 1) await read(keys[call % keys.length]);
}

/** So many readers at a time, as requests are; each goes on with the next key. */
function readTogether(read, wanted) {
  let next = 0;
  return async (count) => {
    const until = next + count;
    async function reader() {
      while (next < until) await read(wanted[(next += 1) % wanted.length]);
    }
    await Promise.all(Array.from({ length: readers }, reader));
  };
}

async function calibrate(operation, sampleMs) {
  operation.count = 3000;
  await measure(operation);
  const { wallNs } = await measure(operation);
  return Math.max(readers, Math.round((sampleMs * 1e6) / wallNs));
}

/** CPU beside time: the host, and whoever else is on it, takes the core away. */
async function measure({ take, count }) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  await take(count);
  const wallNs = Number(process.hrtime.bigint() - start) / count;
  const { user, system } = process.cpuUsage(cpu);
  return { cpuNs: ((user + system) * 1000) / count, wallNs };
}

/** All of this process' callers at once, at a time that both processes know. @returns {Promise<Record<string, number>>} */
async function joinStampede({ redis, run, at }) {
  const contenders = (await openContenders(redis, run)).filter(({ make }) => make !== undefined);
  const calls = {};
  for (const [index, { name, make }] of contenders.entries()) {
    calls[name] = 0;
    const factory = async () => {
      calls[name] += 1;
      await new Promise((resolve) => setTimeout(resolve, factoryMs));
      return valueOf("made");
    };
    // Loaded and warm: both processes begin together.
    await make(`warm-${process.pid}`, () => Promise.resolve(valueOf("warm")));
    await new Promise((resolve) => setTimeout(resolve, at + 1000 * index - Date.now()));
    await Promise.all(Array.from({ length: callers }, () => make("made", factory)));
  }
  for (const { close } of contenders) await close();
  return calls;
}
