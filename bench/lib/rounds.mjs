// Interleaved rounds over a field of servers.
import { openField } from "./field.mjs";
import { openProbes } from "./probes.mjs";
import { endAll } from "./processes.mjs";

const firstWarmSeconds = 1;
/**
 * Before each slice. While the other targets had their turns, leases were given back and answers about revocation became too
 * old: what a process that serves all the time has at hand, it has again after a life of its leases.
 */
const mostWarmSeconds = 3;

/** Figures of a slice, with the number of digits that are kept. */
const members = {
  ...{ throughput: 0, cpu: 2, redisCpu: 3, sent: 4, executed: 3, p50: 3, p99: 3, serverBusy: 2, loadBusy: 2 },
};

/**
 * Measures all targets under one Node.
 *
 * @param {{ targets: readonly object[], rounds: number, seconds: number, redis: object, node?: string, note: (text: string) => void }} how
 * @returns what a run of lib/outcomes.mjs has in `rows`, the title of the load generator, and what was refused meanwhile
 */
export async function measureRounds({ targets, rounds, seconds, redis, node, note }) {
  const field = await openField({ targets, redis, node });
  const probes = openProbes(redis.client);
  const rows = Object.fromEntries(targets.map((target) => [target.name, describeTarget(target)]));
  try {
    for (const stand of field.stands) {
      await field.fire(stand.port, firstWarmSeconds);
      await probes.prepare(stand);
    }
    for (let round = 0; round < rounds; round += 1) {
      // Whoever comes first in one round comes last in the next, so that a slow stretch of the host meets all.
      const order = round % 2 === 0 ? field.stands : field.stands.toReversed();
      for (const stand of order) {
        const how = { seconds, warmSeconds: Math.min(mostWarmSeconds, seconds), during: probes.probe };
        keep(rows[stand.target.name], await field.measure(stand, how));
      }
      note(`round ${round + 1} of ${rounds}`);
    }
  } finally {
    probes.close();
    field.close();
    await endAll();
  }
  return { rows, load: field.load, refused: probes.refused };
}

function describeTarget({ name, title, bare, redis }) {
  return { name, title, bare, redis, failed: 0, invalid: 0, slices: {} };
}

function keep(row, slice) {
  row.failed += slice.failed;
  if (!slice.valid) row.invalid += 1;
  for (const [member, digits] of Object.entries(members)) {
    if (!(member in slice)) continue;
    const value = slice[member];
    // What failed tells nothing about serving, so that it is no part of a ratio.
    (row.slices[member] ??= []).push(slice.valid && Number.isFinite(value) ? Number(value.toFixed(digits)) : null);
  }
}
