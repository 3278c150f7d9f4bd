/** `up`: answers; `degraded`: answers in part; `down`: does not answer. */
export interface StoreState {
  /** In this process, or in Redis. */
  readonly kind: "memory" | "redis";
  /** State of the connection. */
  readonly status: "up" | "degraded" | "down";
  /** The problems, in short fixed phrases. */
  readonly findings: readonly string[];
  /**
   * The clock of this process differs from the store's by more than the tolerance: this process then judges no times.
   */
  readonly clockDiffers?: true | undefined;
}

/** The state of a store, as its last calls have shown it. Reading the state makes no call. */
export interface StoreHealth {
  state(): StoreState;
}

/** Does the clock of this process differ from the store's by more than the tolerance? */
export function clockDiffers(store: StoreHealth): boolean {
  return store.state().clockDiffers === true;
}

/** One result of `examine()`: a fault, or a risk, in the environment of a gate. */
export interface Finding {
  /** A stable name; each name has a heading in docs/operations.md. */
  readonly code: FindingCode;
  /** `error`: something does not work; `warning`: it will fail in some event; `info`: no action is needed. */
  readonly severity: "error" | "warning" | "info";
  /** A sentence without identifiers, addresses and secrets. */
  readonly message: string;
}

/** The stable names of findings; each has a heading in docs/operations.md. */
export type FindingCode =
  | "store_in_process"
  | "store_unreachable"
  | "version_old"
  | "replica"
  | "eviction_policy"
  | "cache_shared"
  | "persistence_off"
  | "clock_skew"
  | "permission_missing"
  | "tracking_refused"
  | "listener_down"
  | "cluster_mode"
  | "cluster_incomplete"
  | "client_options"
  | "key_secret_default"
  | "service_unnamed"
  | "keys_missing"
  | "keys_over_http"
  | "proxies_trusted"
  | "proxy_untrusted"
  | "address_missing"
  | "shared_issuer_taken";
