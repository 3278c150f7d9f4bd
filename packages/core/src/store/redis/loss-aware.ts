import { LRUCache } from "lru-cache";
import type { Answer, Question, DecisionStore } from "../ports/decisions.js";
import { StoreFault } from "../ports/decisions.js";
import type { StoreHealth, StoreState } from "../ports/health.js";
import type { RevocationStore, RevokeOptions } from "../ports/revocation.js";

export interface LossAwareStoreOptions {
  readonly store: DecisionStore & RevocationStore & StoreHealth;
  /** Must tokens be refused while data is missing? */
  readonly denies: () => boolean;
  readonly isLost: () => boolean;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
}

/** Writes a revocation or a cut-off again, as it was. */
type Repeat = () => Promise<unknown>;

/** Revocations written within this time are written again after a loss: a replica may not have had them. */
const recentMs = 60_000;

/**
 * A security store that may lose what it was told: it repeats the revocations of the last minute after a loss or a new
 * connection, and, if told so, says that it does not know instead of "not revoked".
 */
export class LossAwareStore implements DecisionStore, RevocationStore, StoreHealth {
  readonly #store: LossAwareStoreOptions["store"];
  readonly #options: LossAwareStoreOptions;
  readonly #recent: LRUCache<string, Repeat>;

  constructor(options: LossAwareStoreOptions) {
    const { store, now = () => performance.now() } = options;
    this.#store = store;
    this.#options = options;
    this.#recent = new LRUCache({ max: 10_000, ttl: recentMs, perf: { now } });
  }

  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    const answer = this.#store.ask(question);
    if (!this.#options.isLost()) return answer;
    return answer instanceof Promise ? answer.then((late) => this.#doubt(late)) : this.#doubt(answer);
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

  /** Repeats what was written lately. A failure is no worse than the loss. */
  async heal(): Promise<void> {
    await Promise.all([...this.#recent.values()].map((repeat) => repeat().catch(() => undefined)));
  }

  state(): StoreState {
    const state = this.#store.state();
    if (!this.#options.isLost()) return state;
    const findings = [...state.findings, "data was lost"];
    return { ...state, status: state.status === "up" ? "degraded" : state.status, findings };
  }

  #doubt(answer: Answer | StoreFault): Answer | StoreFault {
    if (answer instanceof StoreFault || answer.revoked !== false || !this.#options.denies()) return answer;
    return { ...answer, revoked: new StoreFault("lost") };
  }
}
