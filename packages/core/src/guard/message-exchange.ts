import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { TokenSource } from "../auth/credentials.js";
import { checkBoolean, checkObject, checkString, optionError } from "../lib/validate.js";
import { peerCertificateOf } from "../http/node-exchange.js";
import { announcesBody, readBody } from "../http/body.js";
import { abortOnConnectionEnd, onConnectionEnd } from "../http/response-end.js";
import type { GateExchange } from "../request/state.js";
import { RequestState } from "../request/state.js";

/** Options of `gate.verify()`. */
export interface VerifyOptions {
  /** Apply the limits of the gate (option `limits`) to the request too. @default false */
  readonly limits?: boolean | undefined;
  /**
   * The request opens a connection that the page then reads: a token in a cookie must come from an allowed origin, whatever the
   * method. WebSocket handshakes and requests for `text/event-stream` are known without this. @default false
   */
  readonly handshake?: boolean | undefined;
  /** The address of the client, if the socket is that of a proxy. @default that of the socket */
  readonly address?: string | undefined;
  /**
   * The token that the client has sent outside the request, such as `auth.token` of Socket.IO. Tokens in the request are then
   * ignored. Any value may be passed on: one that is not a token is refused, and undefined, null and `""` are no token.
   * @default the token in the request
   */
  readonly token?: unknown;
}

export function checkVerifyOptions(source: unknown, options: VerifyOptions): void {
  checkObject("verify()", options, ["limits", "handshake", "address", "token"]);
  const { limits, handshake, address } = options;
  if (limits !== undefined) checkBoolean("verify().limits", limits);
  if (handshake !== undefined) checkBoolean("verify().handshake", handshake);
  if (address !== undefined) checkString("verify().address", address);
  if (limits === true && typeof source === "string")
    throw optionError("verify().limits", "needs a request, not a token alone: limits count by its address and headers");
  if (typeof source === "string" && hasToken(options))
    throw optionError("verify().token", "has no effect beside a token; pass one of them");
}

/** Is there a token outside the request? */
export function hasToken({ token }: VerifyOptions): boolean {
  return token !== undefined && token !== null && token !== "";
}

/** The parts of a message that checks use. A mock, or the handshake of a socket library, may have only headers. */
interface MessageParts {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly ip: string | undefined;
  /** Undefined if the message has none, or none that can be read. */
  readonly rawHeaders: readonly string[] | undefined;
}

/**
 * The exchange of a request that no framework has handled, such as a WebSocket handshake. Functions of the application get the
 * message itself. Undefined for a value that is not a request: a socket library may pass on a value that a client has sent
 * instead of a token, so the source may be any value.
 */
export function messageExchange<Raw>(source: unknown, options: VerifyOptions = {}): GateExchange<Raw> | undefined {
  const { address, handshake = false, token } = options;
  const parts = readParts(source);
  if (parts === undefined) return undefined;
  const { method, url, headers, ip } = parts;
  let { rawHeaders } = parts;
  if (hasToken(options)) {
    headers.authorization = typeof token === "string" ? `Bearer ${token}` : "Bearer";
    // One line, whatever the token contains.
    rawHeaders = ["Authorization", headers.authorization];
  }
  const message = source as IncomingMessage;
  return {
    raw: message as Raw,
    method,
    url,
    ip: address ?? ip,
    trustsEveryProxy: undefined,
    isHandshake: handshake,
    state: new RequestState(),
    get signal() {
      return abortOnConnectionEnd(message);
    },
    onClose: (listener) => onConnectionEnd(message, listener),
    // The end of the handler is unknown, so its listeners wait for the end of the connection.
    onHandled: (listener) => onConnectionEnd(message, () => listener()),
    // Another library sends the response.
    intercept: () => undefined,
    rawHeaders,
    get hasBody() {
      return announcesBody(message);
    },
    get peerCertificate() {
      return peerCertificateOf(message);
    },
    headerNames: Object.keys(headers),
    header: (name) => headers[name],
    readBody: (maxBytes) => readBody(message, undefined, maxBytes),
  };
}

/**
 * Throws for values that only a mistake of the application can pass. They would otherwise look like a client without a token
 * for ever. No client can send such a value: it has methods, and no message format carries functions.
 */
export function checkSource(source: unknown): void {
  if (source instanceof Promise) throw optionError("verify()", "was given a promise; await it, and pass its value");
  if (source instanceof Headers || source instanceof Request)
    throw optionError(
      "verify()",
      "takes a token or an IncomingMessage of node:http; of a web Request pass the token alone",
    );
}

/**
 * The token sources for such exchanges. A function of the application is written for the request of its framework. If it throws
 * for a value that is not a stream, and so not a request of node:http, the value carries no token.
 */
export function tolerantSources<Raw>(
  sources: readonly TokenSource<Raw>[],
  note: (error: unknown) => void,
): readonly TokenSource<Raw>[] {
  return sources.map((source) => {
    if (source.kind !== "function") return source;
    return {
      ...source,
      read(raw) {
        try {
          return source.read(raw);
        } catch (error) {
          if (raw instanceof Readable) throw error;
          note(error);
          return undefined;
        }
      },
    };
  });
}

/** Reads each property once: a getter may throw, or return another value the next time. */
function readParts(source: unknown): MessageParts | undefined {
  if (typeof source !== "object" || source === null) return undefined;
  try {
    const { method, url, headers, socket, rawHeaders } = source as Readonly<Record<string, unknown>>;
    if (typeof headers !== "object" || headers === null) return undefined;
    const { remoteAddress: ip } = (socket ?? {}) as { readonly remoteAddress?: unknown };
    return {
      ip: typeof ip === "string" ? ip : undefined,
      method: typeof method === "string" ? method : "GET",
      url: typeof url === "string" ? url : "/",
      headers: copyHeaders(headers),
      rawHeaders: isTexts(rawHeaders) ? [...rawHeaders] : undefined,
    };
  } catch {
    return undefined;
  }
}

/** Headers as text; lists are joined. Other values are left out, since node:http has none. */
function copyHeaders(headers: object): Record<string, string> {
  const copy = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === "string") copy[name] = value;
    else if (isTexts(value)) copy[name] = value.join(", ");
  }
  return copy;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

/** The exchange of a token alone. An empty text is no token. */
export function tokenExchange<Raw>(token: string): GateExchange<Raw> {
  return {
    ...eventExchange<Raw>(undefined as Raw, undefined),
    headerNames: token === "" ? [] : ["authorization"],
    header: (name) => (name === "authorization" && token !== "" ? `Bearer ${token}` : undefined),
  };
}

/** The exchange of an event on an open connection: it has an address, no fields and no response. */
export function eventExchange<Raw>(raw: Raw, ip: string | undefined): GateExchange<Raw> {
  return {
    raw,
    method: "GET",
    url: "/",
    ip,
    trustsEveryProxy: undefined,
    state: new RequestState(),
    signal: new AbortController().signal,
    // There is no response that could end.
    onClose: () => undefined,
    onHandled: () => undefined,
    intercept: () => undefined,
    hasBody: false,
    headerNames: [],
    header: () => undefined,
    readBody: () => Promise.resolve({ kind: "bytes", bytes: Buffer.alloc(0) }),
  };
}
