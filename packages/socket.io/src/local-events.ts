import type { Socket } from "socket.io";

/**
 * Sends an event to a socket of this process at once. With connection state recovery `socket.emit()` would send it to Redis
 * first, and a socket that is disconnected meanwhile would not get it.
 */
export function tell(socket: Socket, event: string, data: object): void {
  socket.nsp.to(socket.id).local.emit(event, data);
}
