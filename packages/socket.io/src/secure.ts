import { extensionOf } from "@portcullis/core/adapter";
import type { Namespace, Server, Socket } from "socket.io";
import type { Adapter } from "socket.io-adapter";
import { closeConnection } from "./connection-end.js";
import type { EngineConnection } from "./connection-end.js";
import { EventLimits } from "./event-limits.js";
import type { SocketGate } from "./gate.js";
import { Handshakes } from "./handshakes.js";
import type { SecureOptions } from "./options.js";
import { resolveSecure } from "./options.js";
import { protectRecovery } from "./recovery.js";
import type { RedisAdapter } from "./redis-adapter.js";
import { openRedisAdapter } from "./redis-adapter.js";
import { setTimeout } from "./real-timers.js";

/** A Socket.IO server, with events of any types. */
export interface SocketServer {
  /** The Engine.IO server. */
  readonly engine: object;
  /** The namespace with this name. */
  of(name: string): object;
}

/** The handle of a server that `secure()` has secured. */
export interface SecuredServer {
  /**
   * Refuses new handshakes with 503, and closes the open connections one after another over this time, in milliseconds. Clients
   * reconnect by themselves, to another process behind the load balancer. Resolves when all are closed.
   * @default 10_000
   */
  drain(overMs?: number): Promise<void>;
  /** Ends all sockets with the reason `"closed"`, and closes the connections to Redis. `io.close()` stays yours to call. */
  close(): Promise<void>;
}

const secured = new WeakSet<object>();

/**
 * Lets a gate guard a Socket.IO server: every handshake in every namespace, and the events of its sockets. Call it when the
 * server is attached, before the first client connects. Wrong options throw a TypeError or RangeError at once.
 *
 * The token of a socket is `auth.token`, or else that of the request: `Authorization`, or the gate's cookie with its origin
 * check. Handlers find the user as `socket.data.auth`. Sockets are in the rooms `user:<principal>` and `org:<id>`. They are
 * disconnected when their token expires or is revoked, with the event `portcullis:end` before; a client that sends
 * `portcullis:authenticate` with a new token of the same user stays connected.
 */
export function secure(io: SocketServer, gate: SocketGate, options: SecureOptions = {}): SecuredServer {
  const resolved = resolveSecure(options);
  const extension = extensionOf(gate);
  const server = io as unknown as Server;
  if ((server.engine as unknown) === undefined || typeof server.adapter !== "function")
    throw new TypeError(
      "portcullis: secure() needs a Socket.IO server that is attached: call it after attach() or listen()",
    );
  checkInternals(server);
  if (secured.has(server)) throw new TypeError("portcullis: secure() was called for this server before");
  secured.add(server);

  const { logger } = extension;
  const onError = (err: unknown): void =>
    logger.warn({ err }, "portcullis: a function of the application failed at a Socket.IO handshake or event");
  const eventLimits = new EventLimits({ gate, limits: resolved.limits, onError });
  const handshakes = new Handshakes({ gate, extension, eventLimits, onError, ...resolved });

  // A recovered socket would pass no middleware, and so need no token.
  const { connectionStateRecovery: recovery } = server._opts;
  if (typeof recovery === "object") recovery.skipMiddlewares = false;

  const redis = resolved.adapter === "gate" ? openRedis() : undefined;
  const create = redis?.create ?? creatorOf(server);
  // Socket.IO calls this with `new`.
  server.adapter(function (namespace: Namespace): Adapter {
    const ownerOfSocket = (id: string): string | undefined => {
      const socket = namespace.sockets.get(id);
      return socket === undefined ? undefined : handshakes.securedOf(socket)?.owner;
    };
    return protectRecovery(create(namespace), ownerOfSocket);
  });

  server.engine.use((req: Parameters<Handshakes["admitRequest"]>[0], res: object, next: () => void) => {
    return handshakes.admitRequest(req, res, next);
  });
  for (const namespace of server._nsps.values()) guard(namespace);
  server.on("new_namespace", guard);

  function openRedis(): RedisAdapter | undefined {
    if (extension.redis === undefined) return undefined;
    return openRedisAdapter(extension.redis, logger, resolved.maxLength);
  }

  function guard(namespace: Namespace): void {
    const admit = (socket: Socket, next: (error?: Error) => void): void => void handshakes.admitSocket(socket, next);
    // Before all other middleware, also where the application has added some before.
    (namespace as unknown as { readonly _fns: unknown[] })._fns.unshift(admit);
  }

  function connections(): EngineConnection[] {
    return Object.values((server.engine as unknown as { clients: Record<string, EngineConnection> }).clients);
  }

  /** Tells the sockets of a connection that it closes. */
  function end(connection: EngineConnection): void {
    const sockets = [...handshakes.socketsOf(connection)];
    for (const socket of sockets) socket.end("closed");
    if (sockets.length === 0) closeConnection(connection);
  }

  async function closeRedis(): Promise<void> {
    await redis?.close();
  }

  extension.onClose(closeRedis);

  return {
    async drain(overMs = 10_000) {
      if (!(Number.isFinite(overMs) && overMs >= 0 && overMs <= 3_600_000))
        throw new RangeError("portcullis: drain() takes milliseconds from 0 to 3600000");
      handshakes.drain();
      const open = connections();
      for (const connection of open) {
        end(connection);
        await new Promise((resolve) => setTimeout(resolve, overMs / open.length));
      }
    },
    async close() {
      handshakes.drain();
      for (const connection of connections()) end(connection);
      await closeRedis();
    },
  };
}

/** Throws if this version of Socket.IO lacks a member that the protection rests on: a socket must not pass unseen. */
function checkInternals(server: Server): void {
  const { _fns: middleware } = server.sockets as unknown as { readonly _fns?: unknown };
  const { engine, _opts: options, _nsps: namespaces } = server as unknown as Readonly<Record<string, unknown>>;
  const { use, clients } = engine as Readonly<Record<string, unknown>>;
  const isKnown =
    Array.isArray(middleware) &&
    namespaces instanceof Map &&
    [options, clients].every((member) => typeof member === "object" && member !== null) &&
    typeof use === "function";
  if (!isKnown)
    throw new TypeError("portcullis: secure() does not know this version of Socket.IO: use 4.8, from 4.8.0");
}

/** Makes adapters as the server was told to. */
function creatorOf(server: Server): (namespace: Namespace) => Adapter {
  const given = server.adapter() as unknown;
  if (typeof given !== "function") throw new TypeError("portcullis: the Socket.IO server has no adapter");
  return (namespace) =>
    // An arrow function cannot be called with `new`.
    given.prototype === undefined
      ? (given as (namespace: Namespace) => Adapter)(namespace)
      : (Reflect.construct(given, [namespace]) as Adapter);
}
