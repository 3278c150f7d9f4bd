import type { IncomingMessage } from "node:http";
import { readBody } from "./body.js";
import { createFacts } from "./exchange.js";
import type { Exchange } from "./exchange.js";
import { abortOnConnectionEnd, onConnectionEnd } from "./response-end.js";

/** The exchange of a request that no framework has seen: a WebSocket handshake, say. Its callbacks get the message itself. */
export function messageExchange<Raw>(message: IncomingMessage): Exchange<Raw> {
  return {
    raw: message as Raw,
    method: message.method ?? "GET",
    url: message.url ?? "/",
    ip: message.socket.remoteAddress,
    trustsEveryProxy: false,
    facts: createFacts(),
    get signal() {
      return abortOnConnectionEnd(message);
    },
    onClose: (listener) => onConnectionEnd(message, listener),
    // Nobody says when: what waits for the handler waits for the connection.
    onHandled: (listener) => onConnectionEnd(message, () => listener()),
    // It is answered elsewhere.
    intercept: () => undefined,
    rawHeaders: message.rawHeaders,
    header(name) {
      const value = message.headers[name];
      return typeof value === "object" ? value.join(", ") : value;
    },
    readBody: (mostBytes) => readBody(message, undefined, mostBytes),
  };
}

/** The exchange of a token alone. */
export function tokenExchange<Raw>(token: string): Exchange<Raw> {
  return {
    raw: undefined as Raw,
    method: "GET",
    url: "/",
    ip: undefined,
    trustsEveryProxy: false,
    facts: createFacts(),
    signal: new AbortController().signal,
    // There is no response, so it does not end.
    onClose: () => undefined,
    onHandled: () => undefined,
    intercept: () => undefined,
    header: (name) => (name === "authorization" ? `Bearer ${token}` : undefined),
    readBody: () => Promise.resolve({ kind: "bytes", bytes: Buffer.alloc(0) }),
  };
}
