import type { Channels } from "../store/channels.js";
import { StoreFault } from "../store/ports.js";
import type { Logger } from "../telemetry/logger.js";

/** What is told of sessions and tokens that have ended, to every process. */
export interface Ending {
  readonly reason: EndingReason;
  /** Whose; undefined for an organisation and for a token. */
  readonly principal?: string | undefined;
  /** Which sessions; undefined if all that the cut-off says. */
  readonly sessionIds?: readonly string[] | undefined;
  /** The organisation whose sessions have ended. */
  readonly org?: string | undefined;
  /** The token that has ended, without its session. */
  readonly jti?: string | undefined;
  /** Tokens issued at or before it are over, in unix seconds; undefined where the rest says which. */
  readonly cutoff?: number | undefined;
}

/**
 * `revoked`: by `sessions.revoke` or `revokeOthers`; `all`: of a subject; `group`: of an organisation; `evicted`: for a
 * newer one; `reused`: because a refresh token was used again; `token`: by `revocations.revoke`.
 */
export type EndingReason = (typeof reasons)[number];

const reasons = ["revoked", "all", "group", "evicted", "reused", "token"] as const;

const channel = "sessions";

/** Ids in one message: it stays far below the longest that channels carry. */
const idsInMessage = 500;

interface Listener {
  readonly hear: (ending: Ending) => void;
  readonly missed: () => void;
}

/**
 * Tells endings to every process, and hears of theirs. This process hears its own at once, whatever becomes of the message;
 * it listens to others as soon as somebody here does.
 */
export class EndingNews {
  readonly #channels: Channels;
  readonly #logger: Logger;
  readonly #listeners = new Set<Listener>();
  #stop: (() => void) | undefined;

  constructor(channels: Channels, logger: Logger) {
    this.#channels = channels;
    this.#logger = logger;
  }

  /** Never rejects: the sessions have ended, whether or not somebody hears of it. */
  announce(ending: Ending): void {
    this.#tell(ending);
    for (const part of inParts(ending)) {
      this.#channels.publish(channel, JSON.stringify(part)).catch((error: unknown) => {
        const fault = error instanceof StoreFault ? error.kind : "unreachable";
        this.#logger.warn({ fault }, "portcullis: other processes were not told that sessions have ended");
      });
    }
  }

  /** Returns how to stop listening. `missed` is called when messages may have been lost, and when listening begins. */
  listen(hear: (ending: Ending) => void, missed: () => void = () => undefined): () => void {
    const listener = { hear, missed };
    const isFirst = this.#listeners.size === 0;
    this.#listeners.add(listener);
    if (isFirst) {
      this.#stop = this.#channels.subscribe(
        channel,
        (message, own) => this.#hear(message, own),
        () => this.#each((one) => one.missed()),
      );
    }
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  #hear(message: string, own: boolean): void {
    const ending = own ? undefined : readEnding(message);
    if (ending !== undefined) this.#tell(ending);
  }

  #tell(ending: Ending): void {
    this.#each(({ hear }) => hear(ending));
  }

  /** A listener that fails harms neither the others nor what ended the session. */
  #each(call: (listener: Listener) => void): void {
    for (const listener of [...this.#listeners]) {
      try {
        call(listener);
      } catch {
        this.#logger.warn({}, "portcullis: a listener of sessions.onRevoked threw");
      }
    }
  }
}

function inParts(ending: Ending): Ending[] {
  const { sessionIds } = ending;
  if (sessionIds === undefined || sessionIds.length <= idsInMessage) return [ending];
  const parts: Ending[] = [];
  for (let start = 0; start < sessionIds.length; start += idsInMessage)
    parts.push({ ...ending, sessionIds: sessionIds.slice(start, start + idsInMessage) });
  return parts;
}

/** Undefined for what no release of ours has said. */
function readEnding(message: string): Ending | undefined {
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { reason, principal, sessionIds, org, jti, cutoff } = value as Record<keyof Ending, unknown>;
  if (!reasons.some((known) => known === reason)) return undefined;
  if (![principal, org, jti].every((text) => text === undefined || typeof text === "string")) return undefined;
  if (cutoff !== undefined && typeof cutoff !== "number") return undefined;
  if (sessionIds !== undefined && !(Array.isArray(sessionIds) && sessionIds.every((id) => typeof id === "string")))
    return undefined;
  return { reason, principal, sessionIds, org, jti, cutoff } as Ending;
}
