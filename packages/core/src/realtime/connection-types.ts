import type { Auth } from "../auth/claims.js";
import type { Denied } from "../http/verdict.js";
import { DenialError } from "../http/verdict.js";

/** The kind of a connection, by which metrics tell them apart. */
export type ConnectionKind = (typeof connectionKinds)[number];

export const connectionKinds = ["sse", "socket.io", "other"] as const;

/**
 * Why a connection must close. `expired`: its token has expired, or is older than `auth.maxTokenAge`; `revoked`: its token was
 * revoked; `session_ended`: its session was ended, or all tokens of its user or its organisation so far; `closed`: the gate is
 * closed.
 */
export type ConnectionEnd = "expired" | "revoked" | "session_ended" | "closed";

/** Options of `watch()`. */
export interface WatchOptions {
  /** The kind of the connection, for metrics. @default "other" */
  readonly kind?: ConnectionKind | undefined;
}

/** A connection that ends with its token. */
export interface WatchedConnection {
  /** The token of the connection: the first one, or that of the last renewal. */
  readonly auth: Auth;
  /** Is the connection still watched? False once `onEnd` is called, and after `end()`. */
  readonly isOpen: boolean;
  /**
   * Goes on with another token of the same user: a renewal without a new connection. Pass the `auth` of `gate.verify()`.
   * Throws a `DenialError` (`token_invalid`) for a token of another user. Does nothing once the connection has ended.
   */
  renew(auth: Auth): void;
  /** Says that the connection has closed by itself, or `"slow"`: its client did not read. `onEnd` is not called. */
  end(reason?: "slow"): void;
}

/** Connections that end with their token, such as WebSockets and event streams. */
export interface Connections {
  /**
   * Watches a connection. `onEnd` is called once, with the reason, when the connection must close: never before `watch()` has
   * returned. Call `end()` when the connection closes by itself. Throws a {@link ConnectionLimitError} if the user or this
   * process has too many open connections.
   */
  watch(auth: Auth, onEnd: (reason: ConnectionEnd) => void, options?: WatchOptions): WatchedConnection;
  /** The number of open connections at this process. */
  readonly open: number;
  /** Is the store unable to say at present whether tokens of open connections are revoked? Connections stay open meanwhile. */
  readonly isDegraded: boolean;
  /** Calls the listener whenever {@link isDegraded} changes. Returns a function that removes the listener. */
  onDegraded(listener: (isDegraded: boolean) => void): () => void;
}

/**
 * The user has too many open connections (`connection_limit`, 429), or the process has (`connection_capacity`, 503). Express
 * and Koa answer with its status; `denied` is the whole answer.
 */
export class ConnectionLimitError extends DenialError {
  override readonly name = "ConnectionLimitError";
  /** The refusal, with the response for the client. */
  readonly denied: Denied;

  constructor(denied: Denied) {
    super(denied);
    this.denied = denied;
  }
}
