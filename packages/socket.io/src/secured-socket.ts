import type { Auth, ConnectionEnd, WatchedConnection } from "@portcullis/core";
import { DenialError } from "@portcullis/core";
import type { GateExtension } from "@portcullis/core/adapter";
import type { Socket } from "socket.io";
import { closeConnection } from "./connection-end.js";
import type { EventLimits, Sender } from "./event-limits.js";
import type { SocketGate } from "./gate.js";
import { ownerOf } from "./recovery.js";
import type { RefusalData } from "./refusal.js";
import { failed, refusalData, tooMany } from "./refusal.js";
import { tell } from "./local-events.js";
import { setImmediate } from "./real-timers.js";

/** The event by which a client sends a new token. */
export const authenticateEvent = "portcullis:authenticate";

/** A client may be refused this often on one connection; then it needs a new one, which its address is limited in. */
export const maxRefusals = 5;

/** Answers to refusals that may wait until the client reads. */
const maxUnread = 5000;

/** What is known of one Engine.IO connection. */
export interface ConnectionState {
  /** Handshakes of namespaces that are being checked. */
  pending: number;
  refusals: number;
  /** Answers to refused events that the client has not read yet. */
  unread: number;
  readonly sockets: Set<SecuredSocket>;
}

export interface SecuredSocketOptions {
  readonly gate: SocketGate;
  readonly extension: Pick<GateExtension, "organisationOf">;
  readonly eventLimits: EventLimits;
  /** Called with an error of a function of the application. */
  readonly onError: (error: unknown) => void;
}

/** A socket whose token was verified: it ends with the token, and goes on with a newer one. */
export class SecuredSocket {
  readonly socket: Socket;
  readonly #options: SecuredSocketOptions;
  readonly #connection: ConnectionState;
  readonly #address: string | undefined;
  readonly #watched: WatchedConnection;
  #org: string | undefined;
  #isRenewing = false;

  /** Throws a ConnectionLimitError if the user, or this process, has too many open connections. */
  constructor(
    options: SecuredSocketOptions,
    socket: Socket,
    auth: Auth,
    connection: ConnectionState,
    address: string | undefined,
  ) {
    this.socket = socket;
    this.#options = options;
    this.#connection = connection;
    this.#address = address;
    this.#watched = options.gate.connections.watch(auth, (reason) => this.end(reason), { kind: "socket.io" });
    connection.sockets.add(this);
    this.#onCleanup(() => this.leave());
  }

  get auth(): Auth {
    return this.#watched.auth;
  }

  /** The owner of the state that Socket.IO keeps for a recovery; undefined once the token has ended. */
  get owner(): string | undefined {
    return this.#watched.isOpen ? ownerOf(this.auth, this.#org) : undefined;
  }

  /** Shows the user to the application, joins rooms, and counts events from now on. */
  start(): void {
    const { socket } = this;
    this.#org = this.#options.extension.organisationOf(this.auth);
    if (this.auth.principal !== "") void socket.join(`user:${this.auth.principal}`);
    if (this.#org !== undefined) void socket.join(`org:${this.#org}`);
    // Hidden from JSON and MessagePack: Socket.IO sends the data of sockets to other processes.
    Object.defineProperty(socket.data, "auth", { configurable: true, enumerable: false, get: () => this.auth });
    const sender = (): Sender => ({ socket, auth: this.auth, address: this.#address });
    this.#options.eventLimits.install(socket, authenticateEvent, sender, () => this.#countAnswer());
    socket.on(authenticateEvent, (data: unknown, acknowledge: unknown) => {
      void this.#authenticate(data).then((error) => this.#answer(error, acknowledge));
    });
  }

  /** Gives the place of the socket back: it has closed by itself. */
  leave(): void {
    this.#connection.sockets.delete(this);
    this.#watched.end();
  }

  /** Tells the client why, and ends the socket; and the connection with its last socket. */
  end(reason: ConnectionEnd): void {
    const { socket } = this;
    const { conn } = socket;
    tell(socket, "portcullis:end", { reason });
    this.#connection.sockets.delete(this);
    const isLast = this.#connection.sockets.size === 0;
    // A client whose connection has closed connects again by itself; a client that was disconnected does not.
    if (reason === "closed" || !socket.connected) return closeConnection(conn);
    socket.disconnect();
    if (isLast) closeConnection(conn);
  }

  /** Goes on with another token of the same user. Throws a DenialError for another user. */
  renew(auth: Auth): void {
    const { socket } = this;
    this.#watched.renew(auth);
    const org = this.#options.extension.organisationOf(auth);
    if (org === this.#org) return;
    if (this.#org !== undefined) void socket.leave(`org:${this.#org}`);
    if (org !== undefined) void socket.join(`org:${org}`);
    this.#org = org;
  }

  /** Verifies a newer token; every socket of this connection and user goes on with it. Resolves to the refusal. */
  async #authenticate(data: unknown): Promise<RefusalData | undefined> {
    if (this.#isRenewing) return tooMany;
    this.#isRenewing = true;
    try {
      const token: unknown = typeof data === "object" && data !== null && "token" in data ? data.token : data;
      const { gate } = this.#options;
      const isMissing = token === undefined || token === null || token === "" || typeof token === "function";
      const verdict = isMissing
        ? await gate.verify("")
        : await gate.verify(this.socket.request, { handshake: true, address: this.#address, token });
      if (!verdict.allowed) return this.#refuse(refusalData(verdict));
      // The token may have ended meanwhile; then the socket has, too.
      if (!this.#watched.isOpen) return failed;
      const { principal, issuer } = this.auth;
      this.renew(verdict.auth);
      for (const other of this.#connection.sockets)
        if (other !== this && other.auth.principal === principal && other.auth.issuer === issuer)
          other.renew(verdict.auth);
      this.#connection.refusals = 0;
      return undefined;
    } catch (error) {
      if (error instanceof DenialError)
        return this.#refuse(refusalData({ problem: error.problem, headers: Object.entries(error.headers) }));
      this.#options.onError(error);
      return failed;
    } finally {
      this.#isRenewing = false;
    }
  }

  #refuse(refusal: RefusalData): RefusalData {
    this.#connection.refusals += 1;
    if (this.#connection.refusals >= maxRefusals) setImmediate(() => closeConnection(this.socket.conn));
    return refusal;
  }

  /** Counts an answer to a refusal. A client that sends on and reads none would fill the memory of the process. */
  #countAnswer(): void {
    this.#connection.unread += 1;
    if (this.#connection.unread === maxUnread) closeConnection(this.socket.conn);
  }

  #answer(error: RefusalData | undefined, acknowledge: unknown): void {
    const { expiresAt } = this.auth;
    if (error !== undefined) this.#countAnswer();
    if (typeof acknowledge === "function") {
      const reply = error === undefined ? { ok: true, expiresAt } : { error };
      (acknowledge as (reply: object) => void)(reply);
    } else if (error !== undefined) tell(this.socket, "portcullis:refused", { event: authenticateEvent, error });
  }

  /**
   * Calls the listener when Socket.IO gives the socket up, also if it was never connected: another middleware may refuse it, and
   * then there is no event.
   */
  #onCleanup(listener: () => void): void {
    const inner = this.socket as unknown as { _cleanup?: (this: unknown) => void };
    const cleanUp = inner._cleanup;
    if (typeof cleanUp !== "function") {
      this.leave();
      throw new TypeError(
        "portcullis: secure() does not know this version of Socket.IO: its sockets have no _cleanup()",
      );
    }
    inner._cleanup = function (): void {
      listener();
      cleanUp.call(this);
    };
  }
}
