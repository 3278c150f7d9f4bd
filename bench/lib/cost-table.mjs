import { fixed, ratio, table } from "./format.mjs";
import { median, spread } from "./statistics.mjs";

/**
 * CPU of calls, each as a ratio to the first, round by round.
 *
 * @param {readonly { name: string, samples: readonly number[] }[]} rows
 */
export function costTable(rows) {
  const [{ samples: base }] = rows;
  return table(
    ["", "ratio", "us here"],
    rows.map(({ name, samples }) => [
      name,
      ratio(spread(samples.map((us, round) => us / base[round]))),
      fixed(median(samples), 2),
    ]),
  );
}
