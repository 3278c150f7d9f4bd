import type { Auth } from "../auth/claims.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { ApplyProblemTypes } from "../http/problem-types.js";
import { deny, DenialError, unavailable } from "../http/verdict.js";
import type { Denied } from "../http/verdict.js";
import { checkFunction, checkObject, checkOneOf, optionError } from "../lib/validate.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type {
  ConnectionEnd,
  ConnectionKind,
  Connections,
  WatchedConnection,
  WatchOptions,
} from "./connection-types.js";
import { connectionKinds, ConnectionLimitError } from "./connection-types.js";
import type { ResolvedConnections } from "./options.js";
import { OpenToken, OpenTokens } from "./open-tokens.js";
import type { TokenHolder } from "./open-tokens.js";
import type { TokenWatch } from "./token-watch.js";
import { clearTimeout, setImmediate, setTimeout } from "../lib/real-timers.js";

export interface ConnectionServiceOptions extends ResolvedConnections {
  /** Undefined for a gate without `auth`. */
  readonly issuers: IssuerScope | undefined;
  /** The time from which a token is too old, in unix seconds. */
  readonly endOf: (auth: Auth) => number;
  /** Watches the records of these tokens; undefined where revocation is off. */
  readonly watchTokens: ((tokens: OpenTokens) => TokenWatch) | undefined;
  /** The refusal of a token. */
  readonly refuse: (cause: string) => Denied;
  readonly problemTypes: ApplyProblemTypes;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
}

const otherUser = "the token for a renewal is of another user";

/** Tokens that expire within this time of each other end together. */
const minTickMs = 10;

/** Open connections that end with their token. Without any there is no timer, no subscription and no question. */
export class ConnectionService implements Connections {
  readonly #options: ConnectionServiceOptions;
  readonly #tokens = new OpenTokens();
  readonly #connections = new Set<OpenConnection>();
  /** The number of connections of each user. */
  readonly #users = new Map<string, number>();
  readonly #watch: TokenWatch | undefined;
  readonly #listeners = new Set<(isDegraded: boolean) => void>();
  #timer: NodeJS.Timeout | undefined;
  /** When the timer ends, in unix milliseconds. */
  #timerAt = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(options: ConnectionServiceOptions) {
    this.#options = options;
    this.#watch = options.watchTokens?.(this.#tokens);
    this.#watch?.onDegraded((isDegraded) => {
      for (const listener of [...this.#listeners]) this.#call(() => listener(isDegraded));
    });
  }

  get open(): number {
    return this.#connections.size;
  }

  get isDegraded(): boolean {
    return this.#watch?.isDegraded === true;
  }

  onDegraded(listener: (isDegraded: boolean) => void): () => void {
    checkFunction("onDegraded()", listener);
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  watch(auth: Auth, onEnd: (reason: ConnectionEnd) => void, options: WatchOptions = {}): WatchedConnection {
    this.#checkAuth("watch()", auth);
    checkFunction("watch(): onEnd", onEnd);
    checkObject("watch()", options, ["kind"]);
    const { kind = "other" } = options;
    checkOneOf("watch().kind", kind, connectionKinds);
    const user = userOf(auth);
    const denied = this.#refusal(user);
    if (denied !== undefined) {
      this.#options.telemetry.connectionEnded(kind, "refused");
      throw new ConnectionLimitError(this.#options.problemTypes(denied));
    }
    const connection = new OpenConnection(this, auth, onEnd, kind, user);
    // First, since it throws for an auth whose records have no names: nobody could end such a connection.
    this.hold(connection, auth);
    this.#connections.add(connection);
    this.#users.set(user, (this.#users.get(user) ?? 0) + 1);
    this.#options.telemetry.connectionOpened(kind);
    // The caller has no connection yet that it could close. An onEnd that watches again must not stop the process.
    if (this.#closed) setImmediate(() => connection.finish("closed"));
    else this.#start();
    return connection;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watch?.stop();
    for (const connection of [...this.#connections]) connection.finish("closed");
  }

  /** Gives a connection its token, in place of the one that it has. */
  hold(connection: OpenConnection, auth: Auth): void {
    let token = this.#tokens.get(auth.token);
    if (token === undefined) {
      token = new OpenToken(auth, this.#options.endOf(auth) * 1000);
      // It may have been revoked since the caller has verified it.
      if (!this.#closed) this.#watch?.add(token);
      this.#tokens.add(token);
    }
    if (connection.token !== token) this.release(connection);
    token.holders.add(connection);
    connection.token = token;
    if (!this.#closed) this.#armFor(token.endsAt);
  }

  /** Takes a connection its token. */
  release(connection: OpenConnection): void {
    const { token } = connection;
    if (token === undefined) return;
    connection.token = undefined;
    token.holders.delete(connection);
    if (token.holders.size === 0) this.#tokens.remove(token);
  }

  /** Forgets a connection that has ended, and stops everything after the last one. */
  forget(connection: OpenConnection, reason: ConnectionEnd | "left" | "slow"): void {
    const { user, kind } = connection;
    this.release(connection);
    this.#connections.delete(connection);
    const others = (this.#users.get(user) ?? 1) - 1;
    if (others > 0) this.#users.set(user, others);
    else this.#users.delete(user);
    this.#options.telemetry.connectionEnded(kind, reason);
    if (this.#connections.size > 0) return;
    this.#watch?.stop();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  /** Calls a function of the application. What it throws must not keep other connections open. */
  #call(call: () => unknown): void {
    const warn = (): void =>
      this.#options.logger.warn({}, "portcullis: a function of the application about open connections failed");
    try {
      const result = call();
      if (result instanceof Promise) result.catch(warn);
    } catch {
      warn();
    }
  }

  tell(onEnd: (reason: ConnectionEnd) => void, reason: ConnectionEnd): void {
    this.#call(() => onEnd(reason));
  }

  checkRenewal(connection: OpenConnection, auth: Auth): void {
    this.#checkAuth("renew()", auth);
    if (userOf(auth) !== connection.user || auth.issuer !== connection.auth.issuer)
      throw new DenialError(this.#options.problemTypes(this.#options.refuse(otherUser)));
  }

  #checkAuth(method: string, auth: Auth | null | undefined): asserts auth is Auth {
    const { issuers } = this.#options;
    if (issuers === undefined) throw optionError("auth", "is required for connections");
    const { token, expiresAt, principal, issuer } = (auth ?? {}) as Partial<Record<keyof Auth, unknown>>;
    if (![token, principal, issuer].every((text) => typeof text === "string") || token === "" || !isTime(expiresAt))
      throw optionError(`connections.${method}`, "needs the auth of a request or of gate.verify()");
    issuers.checkToken(auth as Auth);
    if (principal !== "") issuers.principalOf(auth as Auth);
  }

  #refusal(user: string): Denied | undefined {
    const { maxPerUser, maxPerProcess } = this.#options;
    if (this.#connections.size >= maxPerProcess)
      return unavailable("the process has connections.maxPerProcess open connections", "connection_capacity", () => ({
        limit: maxPerProcess,
      }));
    if ((this.#users.get(user) ?? 0) >= maxPerUser)
      return deny("connection_limit", {
        cause: "the user has connections.maxPerUser open connections",
        detail: () => ({ limit: maxPerUser }),
      });
    return undefined;
  }

  #start(): void {
    if (this.#timer === undefined) this.#arm(this.#options.now() + this.#options.checkEveryMs);
    this.#watch?.start();
  }

  #armFor(endsAt: number): void {
    if (endsAt < this.#timerAt) this.#arm(endsAt);
  }

  /** One timer for all. It ends often, since the wall clock may be set, and a timer of Node cannot run for 60 days. */
  #arm(at: number): void {
    const { now, checkEveryMs } = this.#options;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    const ms = Math.min(Math.max(at - now(), minTickMs), checkEveryMs);
    this.#timer = setTimeout(() => this.#endExpired(), ms).unref();
  }

  #endExpired(): void {
    const now = this.#options.now();
    let next = now + this.#options.checkEveryMs;
    const expired: OpenToken[] = [];
    for (const token of this.#tokens.all()) {
      if (token.endsAt <= now) expired.push(token);
      else if (token.endsAt < next) next = token.endsAt;
    }
    this.#arm(next);
    for (const token of expired) token.end("expired");
  }
}

/** One open connection. */
class OpenConnection implements WatchedConnection, TokenHolder {
  readonly kind: ConnectionKind;
  readonly user: string;
  token: OpenToken | undefined = undefined;
  readonly #service: ConnectionService;
  readonly #onEnd: (reason: ConnectionEnd) => void;
  #auth: Auth;
  #isOpen = true;

  constructor(
    service: ConnectionService,
    auth: Auth,
    onEnd: (reason: ConnectionEnd) => void,
    kind: ConnectionKind,
    user: string,
  ) {
    this.#service = service;
    this.#auth = auth;
    this.#onEnd = onEnd;
    this.kind = kind;
    this.user = user;
  }

  get auth(): Auth {
    return this.#auth;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  renew(auth: Auth): void {
    this.#service.checkRenewal(this, auth);
    if (!this.#isOpen) return;
    this.#service.hold(this, auth);
    this.#auth = auth;
  }

  end(reason?: "slow"): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#service.forget(this, reason ?? "left");
  }

  lose(reason: ConnectionEnd): void {
    this.finish(reason);
  }

  /** Ends the connection and tells its owner. */
  finish(reason: ConnectionEnd): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#service.forget(this, reason);
    this.#service.tell(this.#onEnd, reason);
  }
}

/** A token that names nobody is a user of its own. */
function userOf({ principal, token }: Auth): string {
  return principal === "" ? `token ${token}` : `user ${principal}`;
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
