import type { IssuerScope } from "../auth/issuer-scope.js";
import type { Channels } from "../store/ports/channels.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { Logger } from "../telemetry/logger.js";

/** What is told of sessions and tokens that have ended, to every process. */
export interface SessionEnded {
  readonly reason: EndingReason;
  /** Whose names these are: a digest of the issuer, as keys in Redis have it. */
  readonly issuer: string;
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

/** An ending as it is told here: a principal says whose it is. */
export type Announcement = Omit<SessionEnded, "issuer"> &
  ({ readonly issuer: string } | { readonly principal: string });

/**
 * `revoked`: by `sessions.revoke` or `revokeOthers`; `all`: of a subject; `group`: of an organisation; `evicted`: for a
 * newer one; `reused`: because a refresh token was used again; `token`: by `revocations.revoke`.
 */
export type EndingReason = (typeof reasons)[number];

const reasons = ["revoked", "all", "group", "evicted", "reused", "token"] as const;

const channel = "sessions";

/** Ids in one message: it stays far below the longest that channels carry. */
const maxIdsPerMessage = 500;

interface Listener {
  readonly onEnd: (ending: SessionEnded) => void;
  readonly onMissed: () => void;
}

/**
 * Tells endings to every process, and hears of theirs. This process hears its own at once, whatever becomes of the message;
 * it listens to others as soon as somebody here does.
 */
export class SessionEvents {
  readonly #channels: Channels;
  readonly #issuers: IssuerScope;
  readonly #logger: Logger;
  readonly #listeners = new Set<Listener>();
  #stop: (() => void) | undefined;

  constructor(channels: Channels, issuers: IssuerScope, logger: Logger) {
    this.#channels = channels;
    this.#issuers = issuers;
    this.#logger = logger;
  }

  /** Never rejects: the sessions have ended, whether or not somebody hears of it. */
  announce(announced: Announcement): void {
    const { principal } = announced;
    const issuer = "issuer" in announced ? announced.issuer : this.#issuers.parse(announced.principal).issuer;
    const ending: SessionEnded = { ...announced, issuer };
    this.#deliver(ending);
    const universal = principal === undefined ? ending : { ...ending, principal: this.#issuers.universal(principal) };
    for (const part of splitIds(universal)) {
      this.#channels.publish(channel, JSON.stringify(part)).catch((error: unknown) => {
        const fault = error instanceof StoreFault ? error.kind : "unreachable";
        this.#logger.warn({ fault }, "portcullis: the end of sessions could not be published to other processes");
      });
    }
  }

  /** Returns how to stop listening. `missed` is called when messages may have been lost, and when listening begins. */
  listen(onEnd: (ending: SessionEnded) => void, onMissed: () => void = () => undefined): () => void {
    const listener = { onEnd, onMissed };
    const isFirst = this.#listeners.size === 0;
    this.#listeners.add(listener);
    if (isFirst) {
      this.#stop = this.#channels.subscribe(
        channel,
        (message, own) => this.#receive(message, own),
        () => this.#notify((one) => one.onMissed()),
      );
    }
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  #receive(message: string, own: boolean): void {
    const ending = own ? undefined : readSessionEnded(message);
    if (ending === undefined || !this.#issuers.accepts(ending.issuer)) return;
    const principal = ending.principal === undefined ? undefined : this.#issuers.local(ending.principal);
    if (principal !== undefined || ending.principal === undefined) this.#deliver({ ...ending, principal });
  }

  #deliver(ending: SessionEnded): void {
    this.#notify(({ onEnd }) => onEnd(ending));
  }

  /** A listener that fails harms neither the others nor what ended the session. */
  #notify(call: (listener: Listener) => void): void {
    for (const listener of [...this.#listeners]) {
      try {
        call(listener);
      } catch {
        this.#logger.warn({}, "portcullis: a listener of sessions.onRevoked threw");
      }
    }
  }
}

function splitIds(ending: SessionEnded): SessionEnded[] {
  const { sessionIds } = ending;
  if (sessionIds === undefined || sessionIds.length <= maxIdsPerMessage) return [ending];
  const parts: SessionEnded[] = [];
  for (let start = 0; start < sessionIds.length; start += maxIdsPerMessage)
    parts.push({ ...ending, sessionIds: sessionIds.slice(start, start + maxIdsPerMessage) });
  return parts;
}

/** Undefined for a message that no release has sent. */
function readSessionEnded(message: string): SessionEnded | undefined {
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { reason, issuer, principal, sessionIds, org, jti, cutoff } = value as Record<keyof SessionEnded, unknown>;
  if (!reasons.some((known) => known === reason)) return undefined;
  if (typeof issuer !== "string") return undefined;
  if (![principal, org, jti].every((text) => text === undefined || typeof text === "string")) return undefined;
  if (cutoff !== undefined && typeof cutoff !== "number") return undefined;
  if (sessionIds !== undefined && !(Array.isArray(sessionIds) && sessionIds.every((id) => typeof id === "string")))
    return undefined;
  return { reason, issuer, principal, sessionIds, org, jti, cutoff } as SessionEnded;
}
