import type { Body } from "./body.js";
import type { Interceptor } from "./interception.js";

/** One HTTP request as the core sees it: the small read-only host object that an adapter provides. */
export interface Exchange<Raw = unknown> {
  /** The framework's own request or context, for the application's callbacks; the core never looks inside. */
  readonly raw: Raw;
  readonly method: string;
  /** Path and query as the client sent them. */
  readonly url: string;
  /** The client's address as the framework resolved it under its own proxy-trust setting. */
  readonly ip: string | undefined;
  /** Does that setting trust every proxy, so that clients may choose their address themselves? */
  readonly trustsEveryProxy: boolean;
  /**
   * The header by which a trusted proxy told that address, in lower case. Undefined where the framework does not trust the
   * sender of the request: then `ip` is the address of the sender, and that may be a proxy.
   */
  readonly addressHeader?: string | undefined;
  /** Aborted when the client goes away before its response is complete; made when it is first asked for. */
  readonly signal: AbortSignal;
  /** Called once, when the response is over: with its status, 0 if it broke off. Soon, if it is over already. */
  onClose(listener: (status: number) => void): void;
  /** Called once, when the handler has ended, whether or not its client has waited for it. */
  onHandled(listener: () => void): void;
  /** Puts an interceptor between the handler and its response. */
  intercept(interceptor: Interceptor): void;
  /**
   * Does the framework hold the response until its middleware has returned, as Koa does? Then a stored response is given to
   * the framework, middleware in front may change it, and a condition of the request is judged when it is sent.
   */
  readonly holdsResponse?: boolean | undefined;
  /** Names and values of the header lines as they came, in turn. Undefined or empty where the framework does not show them. */
  readonly rawHeaders?: readonly string[] | undefined;
  /** Does a body follow the head of the request, or may it? */
  readonly hasBody: boolean;
  /** Did the request come over TLS to this process? @default false */
  readonly secure?: boolean | undefined;
  /** Has the client shown a certificate in the TLS handshake with this process? @default false */
  readonly clientCertificate?: boolean | undefined;
  /** The lower-case names of the request headers; in HTTP/2 also those of pseudo-fields. */
  readonly headerNames: readonly string[];
  /** A request header by its lower-case name. */
  header(name: string): string | undefined;
  /** The body, up to so many bytes, or what a parser before has made of it. */
  readBody(mostBytes: number): Promise<Body>;
}
