import type { Socket } from "socket.io";

/** A connection of Engine.IO. */
export type EngineConnection = Socket["conn"];

/** How long a connection may take to send what its client was told. */
const flushMs = 1000;

/** The parts of a transport that Engine.IO uses itself. */
interface Transport {
  /** How long a polling transport waits for the next request of its client. */
  closeTimeout?: number;
  /** The WebSocket. */
  readonly socket?: { terminate?(): void };
}

/** Closes a connection when what it has to say is sent, and after a second in any case: its client may read nothing. */
export function closeConnection(connection: EngineConnection): void {
  const transport = connection.transport as unknown as Transport;
  if (typeof transport.closeTimeout === "number") transport.closeTimeout = flushMs;
  connection.close();
  if (connection.readyState === "closed") return;
  const timer = setTimeout(() => {
    connection.off("close", stop);
    connection.close(true);
    (connection.transport as unknown as Transport).socket?.terminate?.();
  }, flushMs);
  timer.unref();
  connection.once("close", stop);
  function stop(): void {
    clearTimeout(timer);
  }
}
