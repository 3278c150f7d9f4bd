import { randomUUID } from "node:crypto";
import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import type { Connection } from "./connect.js";
import { readText } from "./replies.js";
import { markerScript } from "./scripts/markers.js";
import { runScript } from "./run-script.js";
import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../../lib/growing-lru.js";
import type { Answer, Question, DecisionStore } from "../ports/decisions.js";
import { StoreFault } from "../ports/fault.js";
import type { StoreHealth, StoreState } from "../ports/health.js";
import type { RevocationStore, RevokeOptions } from "../ports/revocation.js";
import { sharedKeyMs } from "../keyspace.js";
import type { Tracking } from "./tracking.js";
import type { Keyspace } from "../keyspace.js";
import { TrackedAnswers } from "./tracked-answers.js";
import { clearInterval, monotonicNow, setInterval } from "../../lib/real-timers.js";

export interface LossDetectorOptions {
  readonly connection: Connection;
  /** Returns the marker keys, one in each part of the store that may be lost separately. */
  readonly markers: () => readonly string[];
  /** Create missing markers? Not if every process must see the loss until an operator acts. */
  readonly replace: boolean;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Called when a loss of data is detected. */
  readonly onLoss: () => void;
  /** @default 1000 */
  readonly heartbeatMs?: number;
}

/**
 * Detects a loss of data in Redis (FLUSHALL, a restart without persistence, eviction, the promotion of an empty
 * replica): a known marker is missing, or has another value. Markers are read every second and after each connection,
 * so that a loss is detected within two seconds. A process that starts accepts the markers that it finds.
 */
export class LossDetector {
  readonly #options: LossDetectorOptions;
  readonly #known = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #stopListening: (() => void) | undefined;
  #looking = false;
  /** Markers that were missing at the last look. */
  readonly #missing = new Set<string>();

  constructor(options: LossDetectorOptions) {
    this.#options = options;
  }

  /** Is a known marker missing? If markers are not replaced, until the marker is back. */
  get lost(): boolean {
    return this.#missing.size > 0;
  }

  start(): void {
    const { connection, heartbeatMs = 1000 } = this.#options;
    const look = (): void => void this.#look();
    this.#timer = setInterval(look, heartbeatMs);
    this.#timer.unref();
    this.#stopListening = connection.onConnect(look);
    if (connection.hasConnected()) look();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#stopListening?.();
  }

  async #look(): Promise<void> {
    const { markers, connection } = this.#options;
    if (this.#looking || !connection.isUp()) return;
    this.#looking = true;
    // A failed read is an outage, which is reported elsewhere. Another node of a Cluster may lose data meanwhile.
    const found = await Promise.allSettled(markers().map(async (key) => [key, await this.#read(key)] as const));
    this.#looking = false;
    for (const one of found) if (one.status === "rejected") connection.unreadable?.("marker", one.reason);
    this.#judge(found.flatMap((one) => (one.status === "fulfilled" ? [one.value] : [])));
  }

  /** Reads a marker. Creates it at the first look, or always if losses are only reported. */
  async #read(key: string): Promise<string | undefined> {
    const { connection, replace } = this.#options;
    // A new value each time: otherwise a marker that was created again would look like the lost one.
    const offered = replace || !this.#known.has(key) ? randomUUID() : "";
    const found = readText(await runScript(connection.client, markerScript, [key], [offered, sharedKeyMs]));
    return found === "" ? undefined : found;
  }

  #judge(found: readonly (readonly [key: string, marker: string | undefined])[]): void {
    const { markers, replace, telemetry, logger, onLoss } = this.#options;
    const wasLost = this.lost;
    for (const [key, marker] of found) {
      const known = this.#known.get(key);
      if (known !== undefined && marker !== known) this.#missing.add(key);
      else this.#missing.delete(key);
      if (marker !== undefined && (replace || known === undefined)) this.#known.set(key, marker);
    }
    if (!this.lost || wasLost) return;
    telemetry.dataLost();
    logger.warn({ markers: markers().length }, "portcullis: Redis has lost data; revoked tokens may be accepted again");
    onLoss();
  }
}

export interface LossAwareStoreOptions {
  readonly store: DecisionStore & RevocationStore & StoreHealth;
  /** Must tokens be refused while data is lost? */
  readonly denies: () => boolean;
  readonly isLost: () => boolean;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
}

/** Writes the same revocation or cut-off again. */
type Repeat = () => Promise<unknown>;

/** Revocations of this time are written again after a loss: a promoted replica may not have them. */
const recentMs = 60_000;

/**
 * A store that may lose data. It repeats the revocations of the last minute after a loss or a new connection. If tokens
 * must be refused while data is lost, it answers with a fault instead of "not revoked".
 */
export class LossAwareStore implements DecisionStore, RevocationStore, StoreHealth {
  readonly #store: LossAwareStoreOptions["store"];
  readonly #options: LossAwareStoreOptions;
  readonly #recent: LRUCache<string, Repeat>;

  constructor(options: LossAwareStoreOptions) {
    const { store, now = monotonicNow } = options;
    this.#store = store;
    this.#options = options;
    this.#recent = new GrowingLru({ max: 10_000, ttl: recentMs, ttlResolution: 0, perf: { now } });
  }

  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    const { isLost, denies } = this.#options;
    if (!isLost() || !denies()) return this.#store.ask(question);
    // Whom the loss refuses, no limit may count.
    const isRefused = question.token !== undefined && question.refusesUnknown === true;
    const answer = this.#store.ask(isRefused ? { ...question, afterToken: [] } : question);
    const unreached = isRefused ? question.afterToken.map(() => undefined) : undefined;
    return answer instanceof Promise
      ? answer.then((late) => withoutLost(late, unreached))
      : withoutLost(answer, unreached);
  }

  async revoke(key: string, expiresAt: number, options?: RevokeOptions): Promise<void> {
    await this.#store.revoke(key, expiresAt, options);
    this.#recent.set(key, () => this.#store.revoke(key, expiresAt));
  }

  async cutOff(key: string, ttlSeconds: number, at?: number): Promise<number> {
    const cutoff = await this.#store.cutOff(key, ttlSeconds, at);
    this.#recent.set(key, () => this.#store.cutOff(key, ttlSeconds, cutoff));
    return cutoff;
  }

  /** Repeats the recent writes. A failure is no worse than the loss. */
  async heal(): Promise<void> {
    await Promise.all([...this.#recent.values()].map((repeat) => repeat().catch(() => undefined)));
  }

  state(): StoreState {
    const state = this.#store.state();
    if (!this.#options.isLost()) return state;
    const findings = [...state.findings, "data was lost"];
    return { ...state, status: state.status === "up" ? "degraded" : state.status, findings };
  }
}

/** The answer with a fault instead of "not revoked", and these states of the consumptions that were not asked. */
function withoutLost(answer: Answer | StoreFault, unreached: Answer["afterToken"] | undefined): Answer | StoreFault {
  if (answer instanceof StoreFault) return answer;
  const { revoked, afterToken } = answer;
  return {
    ...answer,
    revoked: revoked === false ? new StoreFault("lost") : revoked,
    afterToken: unreached ?? afterToken,
  };
}

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
  /** The reason for which "not revoked" is not believed; undefined for none. */
  doubt(): StoreFault | undefined;
  /** The store itself stays open. */
  close(): void;
}

/** Adds the detection of lost revocations to a store and, if `trackedMs` is set, answers from this process. */
export function guardRevocations(options: RevocationGuardOptions): GuardedRevocations {
  const { store, connection, tracking, keys, telemetry, logger, onDataLoss, trackedMs } = options;
  const denies = onDataLoss === "deny";
  const detector = new LossDetector({
    connection,
    // A connection may find out later that it is one to a Cluster.
    markers: () => keys.markers(connection.isCluster),
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
  const doubt = (): StoreFault | undefined => (denies && detector.lost ? new StoreFault("lost") : undefined);
  if (trackedMs === undefined) return { decisions: aware, revocations: aware, health: aware, doubt, close };

  const tracked = new TrackedAnswers({ store: aware, invalidations: tracking, maxAgeMs: trackedMs });
  for (const prefix of keys.revocationPrefixes()) {
    tracking.track({ prefix, invalidate: (key) => tracked.invalidate(key), flush: () => tracked.flush() });
  }
  return { decisions: tracked, revocations: tracked, health: aware, doubt, close };
}
