import type { IncomingMessage } from "node:http";
import type { Auth, Denied } from "@portcullis/core";
import { ConnectionLimitError } from "@portcullis/core";
import { errorOf } from "@portcullis/core/adapter";
import type { GateExtension } from "@portcullis/core/adapter";
import type { Socket } from "socket.io";
import { closeConnection } from "./connection-end.js";
import type { EngineConnection } from "./connection-end.js";
import type { SocketGate } from "./gate.js";
import type { ResolvedSecure } from "./options.js";
import { ownerOf, settleRecovery } from "./recovery.js";
import type { RefusalData } from "./refusal.js";
import { answerRequest, failed, refusalData, refusalError, tooMany } from "./refusal.js";
import type { ConnectionState, SecuredSocketOptions } from "./secured-socket.js";
import { maxRefusals, SecuredSocket } from "./secured-socket.js";
import { setImmediate } from "./real-timers.js";

export interface HandshakesOptions extends SecuredSocketOptions, Pick<ResolvedSecure, "handshakes" | "address"> {
  readonly gate: SocketGate;
  readonly extension: Pick<GateExtension, "organisationOf" | "refuseConnection" | "noteRefused">;
}

/** Handshakes of one connection that may be checked at a time. */
const maxPending = 20;

type Next = (error?: Error) => void;

/** Checks handshakes: of connections, by the address of the client, and of sockets, by its token. */
export class Handshakes {
  readonly #options: HandshakesOptions;
  readonly #connections = new WeakMap<object, ConnectionState>();
  readonly #sockets = new WeakMap<Socket, SecuredSocket>();
  #isDraining = false;

  constructor(options: HandshakesOptions) {
    this.#options = options;
  }

  /** Refuses all new handshakes from now on. */
  drain(): void {
    this.#isDraining = true;
  }

  securedOf(socket: Socket): SecuredSocket | undefined {
    return this.#sockets.get(socket);
  }

  /** The secured sockets of an Engine.IO connection. */
  socketsOf(connection: EngineConnection): ReadonlySet<SecuredSocket> {
    return this.#stateOf(connection).sockets;
  }

  /** Middleware of Engine.IO. The requests after the handshake belong to a connection, and are not counted. */
  async admitRequest(req: IncomingMessage, res: object, next: (error?: unknown) => void): Promise<void> {
    const { _query: query } = req as { readonly _query?: Readonly<Record<string, unknown>> };
    if (Boolean(query?.sid) || req.method === "OPTIONS") return next();
    if (hasGone(req)) return void req.socket.destroy();
    let denied: Denied | undefined;
    try {
      denied = this.#isDraining ? this.#draining() : await this.#refusalOf(req);
    } catch (error) {
      this.#options.onError(error);
      // Engine.IO lets a request pass for which `next` gets no error, and undefined may be thrown.
      return next(errorOf(error));
    }
    if (denied === undefined) return next();
    answerRequest(req, res, denied);
  }

  async #refusalOf(req: IncomingMessage): Promise<Denied | undefined> {
    const { handshakes, address: addressOf, gate } = this.#options;
    const address = addressOf(req);
    // A unix socket has none.
    if (handshakes === undefined || address === undefined) return undefined;
    const verdict = await gate.consume(handshakes, { address, request: req as never });
    return verdict.allowed ? undefined : verdict;
  }

  /** Middleware of a namespace. */
  async admitSocket(socket: Socket, next: Next): Promise<void> {
    const connection = this.#stateOf(socket.conn);
    const refusal = connection.pending >= maxPending ? tooMany : await this.#check(socket, connection);
    if (refusal === undefined) return next();
    connection.refusals += 1;
    next(refusalError(refusal));
    // Soon, so that the client gets the reason first.
    if (connection.refusals >= maxRefusals) setImmediate(() => closeConnection(socket.conn));
  }

  async #check(socket: Socket, connection: ConnectionState): Promise<RefusalData | undefined> {
    connection.pending += 1;
    try {
      if (this.#isDraining) return refusalData(this.#draining());
      const { gate, address: addressOf } = this.#options;
      const address = addressOf(socket.request);
      const { auth: given } = socket.handshake;
      const token: unknown = Object.hasOwn(given, "token") ? given.token : undefined;
      const verdict = await gate.verify(socket.request, { limits: true, handshake: true, address, token });
      if (!verdict.allowed) return refusalData(verdict);
      if (socket.conn.readyState !== "open") return failed;
      await this.#admit(socket, verdict.auth, connection, address);
      return undefined;
    } catch (error) {
      if (error instanceof ConnectionLimitError) {
        this.#options.extension.noteRefused(error.denied);
        return refusalData(error.denied);
      }
      this.#options.onError(error);
      return failed;
    } finally {
      connection.pending -= 1;
    }
  }

  async #admit(socket: Socket, auth: Auth, connection: ConnectionState, address: string | undefined): Promise<void> {
    const secured = new SecuredSocket(this.#options, socket, auth, connection, address);
    this.#sockets.set(socket, secured);
    await settleRecovery(socket, ownerOf(auth, this.#options.extension.organisationOf(auth)));
    secured.start();
  }

  #draining(): Denied {
    return this.#options.extension.refuseConnection("the Socket.IO server is draining");
  }

  #stateOf(connection: EngineConnection): ConnectionState {
    const known = this.#connections.get(connection);
    if (known !== undefined) return known;
    const state: ConnectionState = { pending: 0, refusals: 0, unread: 0, sockets: new Set<SecuredSocket>() };
    this.#connections.set(connection, state);
    connection.on("drain", () => (state.unread = 0));
    connection.once("close", () => {
      for (const socket of state.sockets) socket.leave();
    });
    return state;
  }
}

/** Has the client reset the connection? Then nobody knows its address, and a session of Engine.IO would stay without one. */
function hasGone({ socket }: IncomingMessage): boolean {
  return socket.destroyed || (socket.remoteAddress === undefined && socket.localAddress !== undefined);
}
