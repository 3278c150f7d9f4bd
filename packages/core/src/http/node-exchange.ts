import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { Body } from "./body.js";
import type { TagMaker } from "./tag-response.js";
import { tagBeforeEnd } from "./tag-response.js";
import { announcesBody, peekBody, readBody } from "./body.js";
import type { Exchange } from "./exchange.js";
import { handlerWaitMs, onHandlerEnd, onRequestDone } from "./handler-end.js";
import type { HeldResponseContext } from "./held-response.js";
import { heldBytes } from "./held-response.js";
import type { Interception, Interceptor } from "./interceptor.js";
import { interceptResponse } from "./interception.js";
import { abortOnDisconnect, onResponseEnd } from "./response-end.js";

/**
 * The base of exchanges of frameworks on node:http. An adapter adds what depends on its framework: the URL before routers change
 * it, the address of the client behind trusted proxies, and the body of a parser.
 */
export abstract class NodeExchange<Raw, State = unknown> implements Exchange<Raw> {
  readonly raw: Raw;
  /** The state of the request at one gate, as `exchangeFor()` passes it to the adapter. */
  readonly state: State;
  readonly holdsResponse: boolean = false;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  #interception: Interception | undefined;

  constructor(raw: Raw, req: IncomingMessage, res: ServerResponse, state: State) {
    this.raw = raw;
    this.state = state;
    this.#req = req;
    this.#res = res;
  }

  abstract get url(): string;
  abstract get ip(): string | undefined;
  abstract get trustsEveryProxy(): boolean;
  abstract get addressHeader(): string | undefined;

  /** The body as a parser before the gate has parsed it; undefined without one. */
  protected abstract get parsedBody(): unknown;

  get method(): string {
    return this.#req.method ?? "GET";
  }

  get rawHeaders(): readonly string[] {
    return this.#req.rawHeaders;
  }

  get hasBody(): boolean {
    return announcesBody(this.#req);
  }

  get signal(): AbortSignal {
    return abortOnDisconnect(this.#res);
  }

  onClose(listener: (status: number) => void): void {
    onResponseEnd(this.#res, listener);
  }

  /** For frameworks that do not wait for their handlers. Others override it. */
  onHandled(listener: () => void): void {
    onHandlerEnd(this.#res, listener);
  }

  intercept(interceptor: Interceptor): void {
    const heldBody = this.holdsResponse ? () => heldBytes(this.raw as HeldResponseContext) : undefined;
    const interception = interceptResponse(this.#req, this.#res, interceptor, heldBody);
    if (interceptor.returned !== undefined) this.#interception = interception;
    if (this.holdsResponse && interceptor.headMade !== undefined)
      onRequestDone(this, handlerWaitMs, () => interception.endUnsent());
    if (interceptor.beginsUnsent === true) onRequestDone(this, handlerWaitMs, () => interception.beginUnsent());
  }

  tagBeforeEnd(makeTag: TagMaker): void {
    tagBeforeEnd(this.#req, this.#res, makeTag, () => heldBytes(this.raw as HeldResponseContext));
  }

  endConnection(): void {
    const { stream } = this.#res as Partial<Pick<Http2ServerResponse, "stream">>;
    // Node sends `Connection: close` then, also if an error handler drops the fields of the response.
    if (stream === undefined) this.#res.shouldKeepAlive = false;
    else stream.session?.close();
  }

  /** The interception of the check that ran last, if its interceptor handles responses that the framework holds. */
  takeInterception(): Interception | undefined {
    const interception = this.#interception;
    this.#interception = undefined;
    return interception;
  }

  get secure(): boolean {
    return tlsOf(this.#req) !== undefined;
  }

  get clientCertificate(): boolean {
    const socket = tlsOf(this.#req);
    if (socket?.authorized === true) return true;
    // Without a reason the server did not ask for a certificate. An unverified certificate still names a client.
    const reason: unknown = socket?.authorizationError;
    return reason !== undefined && reason !== null && socket?.getPeerX509Certificate?.() !== undefined;
  }

  get peerCertificate(): Uint8Array | undefined {
    return peerCertificateOf(this.#req);
  }

  get headerNames(): readonly string[] {
    return Object.keys(this.#req.headers);
  }

  header(name: string): string | undefined {
    // Adapters of serverless platforms set Content-Length as a number.
    const value: string | number | string[] | undefined = this.#req.headers[name];
    if (typeof value === "string" || value === undefined) return value;
    if (Array.isArray(value)) return value.join(", ");
    // `Vary` may name a property that every object has, such as its constructor. It is not a field.
    return typeof value === "number" ? String(value) : undefined;
  }

  readBody(maxBytes: number): Promise<Body> {
    return readBody(this.#req, this.parsedBody, maxBytes);
  }

  peekBody(maxBytes: number): Promise<Body> {
    return peekBody(this.#req, this.parsedBody, maxBytes);
  }
}

/** The certificate that the client of a request presented in the TLS handshake with this process. */
export function peerCertificateOf(message: IncomingMessage): Uint8Array | undefined {
  return tlsOf(message)?.getPeerX509Certificate?.()?.raw;
}

/** The TLS connection of a request. Requests of serverless platforms and tests may have an incomplete socket. */
function tlsOf({ socket }: IncomingMessage): Partial<TLSSocket> | undefined {
  const connection = socket as Partial<TLSSocket> | undefined;
  return connection?.encrypted === true ? connection : undefined;
}
