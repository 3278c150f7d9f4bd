import { muteSocket } from "./client.js";
import type { Cause } from "./outages.js";
import { causeOf } from "./outages.js";
import type { RedisPlace } from "./topology.js";
import { createProbe } from "./topology.js";
import { clearTimeout, monotonicNow, setTimeout } from "../../lib/real-timers.js";

/** Minimum time between two probes. */
const pauseMs = 2000;
/** A probe that takes longer is given up. */
const probeMs = 1500;

/** Finds out why no sentinel and no node of a Cluster can be reached, by one connection beside the client. */
export class Diagnosis {
  readonly #place: RedisPlace;
  readonly #tell: (cause: Cause) => void;
  #startedAt = Number.NEGATIVE_INFINITY;
  #stop: (() => void) | undefined;

  constructor(place: RedisPlace, tell: (cause: Cause) => void) {
    this.#place = place;
    this.#tell = tell;
  }

  /** Tells the cause that a connection finds; the vague one if the connection works. */
  start(vague: Cause, password: string | undefined): void {
    if (this.#stop !== undefined || monotonicNow() - this.#startedAt < pauseMs) return;
    this.#startedAt = monotonicNow();
    const probe = createProbe(this.#place, password);
    const timer = setTimeout(() => end(vague), probeMs).unref();
    const end = (cause: Cause | undefined): void => {
      if (this.#stop === undefined) return;
      this.close();
      if (cause !== undefined) this.#tell(cause);
    };
    this.#stop = () => {
      clearTimeout(timer);
      probe.disconnect();
    };
    probe.on("error", (error) => {
      muteSocket(probe);
      end(causeOf(error, this.#place.addresses[0]));
    });
    probe.connect().then(
      () => end(vague),
      () => end(vague),
    );
  }

  close(): void {
    this.#stop?.();
    this.#stop = undefined;
  }
}
