import type { Logger } from "../telemetry/logger.js";

/** What is told of sessions that have ended, to every process. */
export interface Ending {
  readonly reason: EndingReason;
  /** Whose; undefined for an organisation. */
  readonly principal?: string | undefined;
  /** Which sessions; undefined if all that the cut-off says. */
  readonly sessionIds?: readonly string[] | undefined;
  /** The organisation whose sessions have ended. */
  readonly org?: string | undefined;
  /** Tokens issued at or before it are over, in unix seconds; undefined where `sessionIds` says which. */
  readonly cutoff?: number | undefined;
}

/**
 * `revoked`: by `sessions.revoke` or `revokeOthers`; `all`: of a subject; `group`: of an organisation; `evicted`: for a
 * newer one; `reused`: because a refresh token was used again.
 */
export type EndingReason = "revoked" | "all" | "group" | "evicted" | "reused";

/** Tells endings, and hears of them. */
export interface EndingNews {
  /** Tells every process, this one included. A failure is no failure of the ending. */
  announce(ending: Ending): void;
  /** Returns how to stop listening. */
  listen(listener: (ending: Ending) => void): () => void;
}

/** The news of one process. */
export class LocalNews implements EndingNews {
  readonly #listeners = new Set<(ending: Ending) => void>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** A listener that fails harms neither the others nor what ended the session. */
  announce(ending: Ending): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(ending);
      } catch {
        this.#logger.warn({}, "portcullis: a listener of sessions.onRevoked failed");
      }
    }
  }

  listen(listener: (ending: Ending) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
