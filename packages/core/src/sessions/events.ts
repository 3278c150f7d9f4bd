import type { IssuerScope } from "../auth/issuer-scope.js";
import type { Channels } from "../store/ports/channels.js";
import { StoreFault } from "../store/ports/fault.js";
import type { AuditTrail } from "../telemetry/audit.js";
import type { Logger } from "../telemetry/logger.js";

/** The event that sessions or tokens have ended. Every process gets it. */
export interface SessionEnd {
  /** Why the sessions have ended. */
  readonly reason: SessionEndReason;
  /** The issuer of the names below: a digest, as in the keys in Redis. */
  readonly issuer: string;
  /** The user. Undefined for an organisation and for a token. */
  readonly principal?: string | undefined;
  /** The sessions. Undefined if `cutoff` says which. */
  readonly sessionIds?: readonly string[] | undefined;
  /** The organisation whose sessions have ended. */
  readonly org?: string | undefined;
  /** The token that was revoked alone, without its session. */
  readonly jti?: string | undefined;
  /** Tokens issued at or before this time are revoked. Unix seconds. Undefined where the other members say which. */
  readonly cutoff?: number | undefined;
}

/** An event before it is published: the principal tells the issuer. */
export type Announcement = Omit<SessionEnd, "issuer"> & ({ readonly issuer: string } | { readonly principal: string });

/**
 * `revoked`: one session ended by `sessions.revoke` or `revokeOthers`; `all`: all sessions of a user; `group`: all of an
 * organisation; `evicted`: a newer session took its place; `reused`: a refresh token was used again; `token`: one token was
 * revoked by `revocations.revoke`.
 */
export type SessionEndReason = (typeof reasons)[number];

const reasons = ["revoked", "all", "group", "evicted", "reused", "token"] as const;

const channel = "sessions";

/** Most session ids in one message, so that it stays far below the limit of channels. */
const maxIdsPerMessage = 500;

interface Listener {
  readonly onEnd: (ending: SessionEnd) => void;
  readonly onMissed: () => void;
}

/**
 * Publishes to all processes that sessions have ended, and receives their events. Listeners of this process get its own
 * events at once, even if publishing fails. The channel is subscribed to with the first listener.
 */
export class SessionEvents {
  readonly #channels: Channels;
  readonly #issuers: IssuerScope;
  readonly #logger: Logger;
  readonly #audit: AuditTrail | undefined;
  readonly #listeners = new Set<Listener>();
  #stop: (() => void) | undefined;

  constructor(channels: Channels, issuers: IssuerScope, logger: Logger, audit?: AuditTrail) {
    this.#channels = channels;
    this.#issuers = issuers;
    this.#logger = logger;
    this.#audit = audit;
  }

  /** Never throws: the sessions have ended even if nothing can be published. */
  publish(announced: Announcement): void {
    const { principal } = announced;
    const issuer = "issuer" in announced ? announced.issuer : this.#issuers.parse(announced.principal).issuer;
    const ending: SessionEnd = { ...announced, issuer };
    if (this.#audit !== undefined) recordEnd(this.#audit, ending);
    this.#deliver(ending);
    const universal = principal === undefined ? ending : { ...ending, principal: this.#issuers.universal(principal) };
    for (const part of splitIds(universal)) {
      this.#channels.publish(channel, JSON.stringify(part)).catch((error: unknown) => {
        const fault = error instanceof StoreFault ? error.kind : "unreachable";
        this.#logger.warn({ fault }, "portcullis: the end of sessions could not be published to other processes");
      });
    }
  }

  /** Returns a function that removes the listener. `onMissed` is called at the start, and when events may have been lost. */
  subscribe(onEnd: (ending: SessionEnd) => void, onMissed: () => void = () => undefined): () => void {
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
    const ending = own ? undefined : readSessionEnd(message);
    if (ending === undefined || !this.#issuers.accepts(ending.issuer)) return;
    const principal = ending.principal === undefined ? undefined : this.#issuers.local(ending.principal);
    if (principal !== undefined || ending.principal === undefined) this.#deliver({ ...ending, principal });
  }

  #deliver(ending: SessionEnd): void {
    this.#notify(({ onEnd }) => onEnd(ending));
  }

  /** An error of one listener must not reach the other listeners, nor the call that ended the session. */
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

/** The security event of sessions that this process has ended. A token that was revoked alone has an event of its own. */
function recordEnd(audit: AuditTrail, { reason, principal, sessionIds: ids = [], org, cutoff }: SessionEnd): void {
  // The listener must not change what other processes are told.
  const sessionIds = Object.freeze([...ids]);
  if (reason === "revoked") return audit.record({ type: "sign_out", principal, sessionIds });
  if (reason === "group") {
    if (org !== undefined && cutoff !== undefined) audit.record({ type: "organisation_signed_out", org, cutoff });
    return;
  }
  if (principal === undefined) return;
  if (reason === "evicted") return audit.record({ type: "session_evicted", principal, sessionIds });
  if (reason === "reused")
    for (const sessionId of sessionIds) audit.record({ type: "refresh_reused", principal, sessionId });
  // Sessions that are named after the cut-off belong to the same end.
  if (reason === "all" && cutoff !== undefined) audit.record({ type: "sign_out_everywhere", principal, cutoff });
}

function splitIds(ending: SessionEnd): SessionEnd[] {
  const { sessionIds } = ending;
  if (sessionIds === undefined || sessionIds.length <= maxIdsPerMessage) return [ending];
  const parts: SessionEnd[] = [];
  for (let start = 0; start < sessionIds.length; start += maxIdsPerMessage)
    parts.push({ ...ending, sessionIds: sessionIds.slice(start, start + maxIdsPerMessage) });
  return parts;
}

/** Undefined for a message that no release has sent. */
function readSessionEnd(message: string): SessionEnd | undefined {
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { reason, issuer, principal, sessionIds, org, jti, cutoff } = value as Record<keyof SessionEnd, unknown>;
  if (!reasons.some((known) => known === reason)) return undefined;
  if (typeof issuer !== "string") return undefined;
  if (![principal, org, jti].every((text) => text === undefined || typeof text === "string")) return undefined;
  if (cutoff !== undefined && typeof cutoff !== "number") return undefined;
  if (sessionIds !== undefined && !(Array.isArray(sessionIds) && sessionIds.every((id) => typeof id === "string")))
    return undefined;
  return { reason, issuer, principal, sessionIds, org, jti, cutoff } as SessionEnd;
}
