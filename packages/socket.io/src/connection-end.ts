import type { EventEmitter } from "node:events";
import type { Socket } from "socket.io";
import { clearTimeout, setTimeout } from "./real-timers.js";

/** A connection of Engine.IO. */
export type EngineConnection = Socket["conn"];

/** How long a connection may take to send what its client was told. */
const flushMs = 1000;

/** The parts of a transport that Engine.IO uses itself. */
interface Transport {
  /** How long a polling transport waits for the next request of its client. */
  closeTimeout?: number;
  /** The WebSocket. */
  readonly socket?: Pick<EventEmitter, "once"> & { terminate?(): void };
}

const closing = new WeakSet<EngineConnection>();

/** Closes a connection when what it has to say is sent, and after a second in any case: its client may read nothing. */
export function closeConnection(connection: EngineConnection): void {
  if (closing.has(connection)) return;
  closing.add(connection);
  const transport = connection.transport as unknown as Transport;
  if (typeof transport.closeTimeout === "number") transport.closeTimeout = flushMs;
  const timer = setTimeout(() => {
    connection.close(true);
    (connection.transport as unknown as Transport).socket?.terminate?.();
  }, flushMs);
  timer.unref();
  // Engine.IO counts a connection as closed when the closing handshake of its WebSocket begins; its client may never answer.
  const emitter: Pick<EventEmitter, "once"> = transport.socket ?? connection;
  emitter.once("close", () => clearTimeout(timer));
  connection.close();
}
