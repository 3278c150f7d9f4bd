import type { Degradation } from "../guard/degradation.js";
import type { AuthKeys } from "../auth/issuers.js";
import type { ResolvedOptions } from "../options.js";
import type { StoreState } from "../store/ports/health.js";
import type { PartsInUse, Stores } from "../store/stores.js";

/** The state of all dependencies of a gate. */
export interface Health {
  /** `up`: no problem; `degraded`: policies for outages decide in part; `down`: protected requests are refused. */
  readonly status: "up" | "degraded" | "down";
  /** State of the store. */
  readonly store: StoreState;
  /** `degraded` while one of several issuers has no keys. */
  readonly keys: "up" | "degraded" | "down" | "none";
}

/** Whether this process should get requests. */
export interface Readiness {
  readonly ready: boolean;
  readonly status: Health["status"] | "draining";
}

/** The state of a gate's dependencies, as its last calls have found them. It makes no calls itself. */
export class HealthMonitor<Raw> {
  readonly #resolved: ResolvedOptions<Raw>;
  readonly #stores: Stores;
  readonly #degradation: Degradation;
  readonly #keys: AuthKeys | undefined;
  readonly #used: PartsInUse;
  readonly #connections: { readonly isDegraded: boolean };
  #draining = false;

  constructor(
    resolved: ResolvedOptions<Raw>,
    stores: Stores,
    degradation: Degradation,
    keys: AuthKeys | undefined,
    used: PartsInUse,
    connections: { readonly isDegraded: boolean },
  ) {
    this.#used = used;
    this.#connections = connections;
    this.#resolved = resolved;
    this.#stores = stores;
    this.#degradation = degradation;
    this.#keys = keys;
  }

  /** From now on the process is not ready, so that a load balancer sends it nothing new. */
  drain(): void {
    this.#draining = true;
  }

  read(): Health {
    const { storeChosen } = this.#resolved;
    const store = this.#withConnections(this.#stores.state());
    const keys = this.#keys?.status() ?? "none";
    const partly = [store.status, keys].includes("degraded") || !storeChosen;
    return { status: store.status === "down" || keys === "down" ? "down" : partly ? "degraded" : "up", store, keys };
  }

  /**
   * Not ready while requests would be refused for an outage: the keys were never loaded, or the store is unavailable and a part
   * of the gate requires it. A restart does not help in either case, so they do not affect liveness.
   */
  readiness(): Readiness {
    const { status, store, keys } = this.read();
    if (this.#draining) return { ready: false, status: "draining" };
    if (keys === "down" || (store.status === "down" && this.#needsStore())) return { ready: false, status };
    return { ready: true, status: status === "down" ? "degraded" : status };
  }

  /** Connections whose tokens cannot be checked stay open, so that nothing is refused for it. */
  #withConnections(state: StoreState): StoreState {
    if (!this.#connections.isDegraded) return state;
    const findings = [...state.findings, "open connections cannot be checked"];
    return { ...state, status: state.status === "up" ? "degraded" : state.status, findings };
  }

  #needsStore(): boolean {
    const { auth, revocation, limits } = this.#resolved;
    return (
      (auth !== undefined && revocation !== undefined && this.#degradation.refusesUnknown()) ||
      auth?.dpop !== undefined ||
      // Locks, idempotency keys and one-time values refuse without a store. Whoever does not use them is not refused.
      this.#used.coordination ||
      limits.some(({ onStoreError }) => onStoreError === "deny")
    );
  }
}
