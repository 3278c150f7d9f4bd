import { cpus, loadavg, release, totalmem } from "node:os";
import { canPin, cores } from "./processes.mjs";

/** What a reader must know about a run, as lines of Markdown. */
export function describeMachine({ redis, how }) {
  const [first] = cpus();
  return [
    `* ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC, ${how}`,
    `* Node ${process.versions.node}${redis === undefined ? "" : `, Redis ${redis}`}, ${process.platform} ${release()}`,
    `* ${cpus().length} cores (${first?.model.trim() ?? "unknown"}), ${Math.round(totalmem() / 2 ** 30)} GiB; ` +
      (canPin ? `server on core ${cores.server}, load on core ${cores.load}` : "not pinned to cores"),
    `* load average before the run: ${loadavg()
      .map((load) => load.toFixed(2))
      .join(", ")} (above about 0.3, something else was running)`,
  ].join("\n");
}
