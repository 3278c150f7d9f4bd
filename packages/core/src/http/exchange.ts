import type { Body } from "./body.js";
import type { TagMaker } from "./tag-response.js";
import type { Interceptor } from "./interceptor.js";

/** One HTTP request as core sees it: a small read-only object that an adapter provides. */
export interface Exchange<Raw = unknown> {
  /** The framework's request or context, for functions of the application; core never reads it. */
  readonly raw: Raw;
  readonly method: string;
  /** Path and query as the client sent them. */
  readonly url: string;
  /** The client's address, as the framework resolves it by its proxy-trust setting. */
  readonly ip: string | undefined;
  /** Does this setting trust every proxy, so that clients can choose their address? Undefined outside a framework. */
  readonly trustsEveryProxy: boolean | undefined;
  /** Does the request open a connection that the page then reads, whatever its method and fields? @default false */
  readonly isHandshake?: boolean | undefined;
  /**
   * The lower-case name of the header in which a trusted proxy passes on the address. Undefined if the framework does not trust
   * the sender of the request: then `ip` is the address of the sender, which may be a proxy.
   */
  readonly addressHeader?: string | undefined;
  /** Aborted when the client goes away before its response is complete. It is created on first use. */
  readonly signal: AbortSignal;
  /** Calls the listener once, when the response is over, with its status (0 if it broke off). If it is over already, soon. */
  onClose(listener: (status: number) => void): void;
  /** Calls the listener once, when the handler has ended. The client may have gone before. */
  onHandled(listener: () => void): void;
  /** Puts an interceptor between the handler and its response. */
  intercept(interceptor: Interceptor): void;
  /**
   * Does the framework hold the response until its middleware has returned, as Koa does? Then a stored response is handed to
   * the framework, middleware in front may change it, and a condition of the request is evaluated when it is sent.
   */
  readonly holdsResponse?: boolean | undefined;
  /**
   * Is there no middleware in front that could look at a response which the framework holds? Then a stored response may be sent
   * without the framework. @default false
   */
  readonly isOutermost?: boolean | undefined;
  /** Lets the connection end after the response (HTTP/1), or takes no more requests on it (HTTP/2). */
  endConnection?(): void;
  /** Gives the response the entity tag of its body, unless it has one. Without this function an interceptor does it. */
  tagBeforeEnd?(makeTag: TagMaker): void;
  /** Names and values of the header lines in turn, as received. Undefined or empty if the framework does not show them. */
  readonly rawHeaders?: readonly string[] | undefined;
  /** May a body follow the head of the request? */
  readonly hasBody: boolean;
  /** Did the request reach this process over TLS? @default false */
  readonly secure?: boolean | undefined;
  /** Did the client present a certificate in the TLS handshake with this process? @default false */
  readonly clientCertificate?: boolean | undefined;
  /** The certificate (DER) that the client presented in that handshake, and whose key it has proven; also if no authority signed it. */
  readonly peerCertificate?: Uint8Array | undefined;
  /** The lower-case names of the request headers; in HTTP/2 also those of pseudo-fields. */
  readonly headerNames: readonly string[];
  /** A request header by its lower-case name. */
  header(name: string): string | undefined;
  /** The body, at most `maxBytes` long, or the value of a parser before the gate. */
  readBody(maxBytes: number): Promise<Body>;
  /** The same, and a parser or handler behind the gate can read the body again. */
  peekBody?(maxBytes: number): Promise<Body>;
}
