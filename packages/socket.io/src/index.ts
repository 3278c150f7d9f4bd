export { secure } from "./secure.js";
export type { SecuredServer, SocketServer } from "./secure.js";
export type { EventLimit, SecureOptions } from "./options.js";
export type { RefusalData, RefusalError } from "./refusal.js";
export type { SocketGate } from "./gate.js";
export type { SocketData } from "./socket-data.js";
