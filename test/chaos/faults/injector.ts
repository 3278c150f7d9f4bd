import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs } from "../history.js";
import type { Recorder } from "../history.js";
import { dice } from "../random.js";
import type { Topology } from "../topologies/topology.js";
import type { FaultKind } from "./fault.js";
import { pickKind } from "./fault.js";

export interface InjectorOptions {
  readonly recorder: Recorder;
  readonly seed: number;
  readonly topology: Topology;
  readonly say: (text: string) => void;
}

/** Makes one fault after the other in each lane, and undoes every one of them before the next. */
export class Injector {
  readonly #options: InjectorOptions;
  /** The masters after the last fault of Redis, with their term, and when that began. */
  #settled: { readonly masters: string; readonly since: number } | undefined;
  readonly #steps = new Map<string, number>();

  constructor(options: InjectorOptions) {
    this.#options = options;
  }

  /** Resolves when it is told to end and the last fault is undone. */
  async run(lane: string, kinds: readonly FaultKind[], signal: AbortSignal): Promise<void> {
    for (;;) {
      const step = (this.#steps.get(lane) ?? 0) + 1;
      this.#steps.set(lane, step);
      const own = dice(this.#options.seed, `${lane} fault ${step}`);
      await sleep(own.between(200, 3500), undefined, { signal }).catch(() => undefined);
      // Each has begun by its own dice, so that one that is left out changes none of the others.
      if (signal.aborted) return;
      await this.#make(pickKind(kinds, own), own);
    }
  }

  async #make(kind: FaultKind, own: ReturnType<typeof dice>): Promise<void> {
    const { recorder, topology, say } = this.#options;
    const before = await this.#masters();
    // A promotion that was begun for a fault may be done when that is long undone.
    if (this.#settled !== undefined && before !== this.#settled.masters) {
      const late = { kind: "another master, late", what: "redis", processes: [], loses: true } as const;
      recorder.note({ type: "fault", ...late, start: this.#settled.since, end: monotonicMs() });
    }
    const start = monotonicMs();
    const begun = await kind.begin(own);
    try {
      await sleep(begun.holdMs);
    } finally {
      await begun.undo();
    }
    const redis = begun.what === "redis";
    if (redis) await topology.settled();
    const after = redis ? await this.#masters() : before;
    if (redis) this.#settled = { masters: after, since: start };
    const changed = before !== after;
    const loses = changed && begun.promotes !== "safe";
    const end = monotonicMs();
    const { what, processes } = begun;
    recorder.note({ type: "fault", kind: kind.name, start, end, processes, what, loses });
    say(`${kind.name}, ${Math.round(end - start)} ms${changed ? ", another master" : ""}`);
  }

  async #masters(): Promise<string> {
    const { topology } = this.#options;
    const ports = (await topology.masters()).map(({ port }) => port).sort((one, other) => one - other);
    return [...ports, (await topology.term?.()) ?? ""].join(" ");
  }
}
