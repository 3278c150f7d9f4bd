// Whether the guard has become slower than it was: ratios of one run beside those of another. No imports but of figures.
import { compare } from "./outcomes.mjs";

/** What may be lost before it counts: runs on one machine differ by a third of this. */
export const tolerance = 0.15;

const gates = {
  floor: {
    "koa-gate-redis": "koa-floor",
    "koa-gate-leased": "koa-floor-leased",
    "express-gate-redis": "express-floor",
    "express-gate-leased": "express-floor-leased",
  },
  bare: {
    "koa-gate-redis": "koa",
    "koa-gate-leased": "koa",
    "express-gate-redis": "express",
    "express-gate-leased": "express",
  },
};
const members = [
  { member: "cpu", title: "server CPU of a request", lossOf: (before, now) => now / before - 1 },
  { member: "throughput", title: "throughput", lossOf: (before, now) => before / now - 1 },
];

/**
 * Compares the ratios to the guard by hand where both runs have it, else to the bare frameworks.
 *
 * @param {import("./outcomes.mjs").Run} before
 * @param {import("./outcomes.mjs").Run} now
 * @returns {{ to: "floor" | "bare", rows: { text: string, before: number, now: number, loss: number, isLost: boolean }[] }}
 *   A loss is a share of the ratio before; a negative one is a gain.
 * @throws {Error} if a ratio is missing in one of the runs, since silence would pass for success
 */
export function findLosses(before, now) {
  const hasFloor = [before, now].every(({ rows }) => Object.values(gates.floor).every((name) => name in rows));
  const to = hasFloor ? "floor" : "bare";
  const rows = Object.entries(gates[to]).flatMap(([gate, other]) =>
    members.map(({ member, title, lossOf }) => {
      const [was, is] = [before, now].map((run) => compare(run, gate, other, member));
      const text = `${title}, ${gate} to ${other}`;
      if (!Number.isFinite(was) || !Number.isFinite(is))
        throw new Error(`no ${text}: one of the runs has no round in which both served 99 % of the requests`);
      const loss = lossOf(was, is);
      return { text, before: was, now: is, loss, isLost: loss > tolerance };
    }),
  );
  return { to, rows };
}
