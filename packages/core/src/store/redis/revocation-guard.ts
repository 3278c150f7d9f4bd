import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import type { Keyspace } from "../keyspace.js";
import type { DecisionStore } from "../ports/decisions.js";
import type { StoreHealth } from "../ports/health.js";
import type { RevocationStore } from "../ports/revocation.js";
import type { Connection } from "./connect.js";
import { LossAwareStore, LossDetector } from "./data-loss.js";
import { TrackedAnswers } from "./tracked-answers.js";
import type { Tracking } from "./tracking.js";

export interface RevocationGuardOptions {
  readonly store: DecisionStore & RevocationStore & StoreHealth;
  readonly connection: Connection;
  readonly tracking: Tracking;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly onDataLoss: "report" | "deny";
  /** Called when Redis has lost data. */
  readonly onLoss: () => void;
  /** Maximum age of a local answer; undefined asks Redis at every request. */
  readonly trackedMs: number | undefined;
}

/** The ports of a store whose losses of data are detected. */
export interface GuardedRevocations {
  readonly decisions: DecisionStore;
  readonly revocations: RevocationStore;
  readonly health: StoreHealth;
  /** The store itself stays open. */
  close(): void;
}

/** Adds the detection of lost revocations to a store and, if `trackedMs` is set, answers from this process. */
export function guardRevocations(options: RevocationGuardOptions): GuardedRevocations {
  const { store, connection, tracking, keys, telemetry, logger, onDataLoss, trackedMs } = options;
  const denies = onDataLoss === "deny";
  const detector = new LossDetector({
    connection,
    markers: keys.markers(connection.isCluster),
    replace: !denies,
    telemetry,
    logger,
    onLoss() {
      options.onLoss();
      void aware.heal();
    },
  });
  const aware = new LossAwareStore({ store, denies: () => denies, isLost: () => detector.lost });
  // A promoted replica may not have the last writes.
  let first = !connection.hasConnected();
  const stopHealing = connection.onConnect(() => {
    if (!first) void aware.heal();
    first = false;
  });
  detector.start();
  function close(): void {
    detector.close();
    stopHealing();
  }
  if (trackedMs === undefined) return { decisions: aware, revocations: aware, health: aware, close };

  const tracked = new TrackedAnswers({ store: aware, invalidations: tracking, maxAgeMs: trackedMs });
  for (const prefix of keys.revocationPrefixes()) {
    tracking.track({ prefix, invalidate: (key) => tracked.invalidate(key), flush: () => tracked.flush() });
  }
  return { decisions: tracked, revocations: tracked, health: aware, close };
}
