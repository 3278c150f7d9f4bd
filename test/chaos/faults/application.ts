import type { Fleet } from "../fleet.js";
import { applications } from "../settings.js";
import type { FaultKind } from "./fault.js";

const seconds = 1000;
const minutes = 60 * seconds;
/** How far a clock may be off: less than any tolerance, about a tolerance, minutes, and hours. */
const skews = [2 * seconds, 30 * seconds, 10 * minutes, 120 * minutes];
const all = applications.map((_, index) => index);

/** Faults of application processes. */
export function applicationFaults(fleet: Fleet): FaultKind[] {
  return [
    {
      name: "the clock of a process is wrong",
      weight: 3,
      begin(dice) {
        const index = dice.pick(all);
        fleet.setClock(index, dice.pick(skews) * (dice.chance(0.7) ? 1 : -1));
        return Promise.resolve({
          what: "clock",
          processes: [index],
          holdMs: dice.between(1000, 5000),
          undo: () => Promise.resolve(fleet.setClock(index, 0)),
        });
      },
    },
    {
      name: "a process stands still (SIGSTOP)",
      begin(dice) {
        const index = dice.pick(all);
        fleet.pause(index);
        return Promise.resolve({
          what: "stop",
          processes: [index],
          holdMs: dice.between(300, 4000),
          undo: () => Promise.resolve(fleet.resume(index)),
        });
      },
    },
    ...(["killed", "asked"] as const).map((how): FaultKind => ({
      name: how === "killed" ? "a process is killed (SIGKILL)" : "a process is replaced (SIGTERM)",
      begin(dice) {
        const index = dice.pick(all);
        const restarted = fleet.restart(index, how);
        return Promise.resolve({ what: "end", processes: [index], holdMs: 0, undo: () => restarted });
      },
    })),
  ];
}
