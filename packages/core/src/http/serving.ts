import { IncomingMessage, ServerResponse, createServer } from "node:http";
import type { Server, ServerOptions } from "node:http";
import { checkFunction, kindOf, optionError } from "../lib/validate.js";

/** The part of a gate that serves a whole application. */
export interface Serving<App> {
  /**
   * The same with a server of another kind: `{ createServer: https.createServer, key, cert }`, or `http2.createSecureServer`
   * with `allowHTTP1`. The other options are those of this function. An application of Express understands HTTP/1 alone, so
   * requests of HTTP/2 are then refused with 505.
   */
  serve<Factory extends ServerFactory>(app: App, options: FactoryOptions<Factory>): ReturnType<Factory>;
  /**
   * Makes an HTTP server for the application, as `http.createServer(app)` does; it does not listen yet. Express changes the
   * prototypes of every request and response, which is dear on Node 20 and 22. The requests and responses of this server have
   * the right prototypes from the start. Properties of `express.request` and `app.request` work as usual, also if they are added
   * later.
   */
  serve(app: App, options?: ServeOptions): Server;
}

/** Options of node:http's `createServer()`. */
export type ServeOptions = Omit<ServerOptions, "IncomingMessage" | "ServerResponse">;

/** A function that makes a server of options and a listener, such as `https.createServer`. */
export type ServerFactory = (options: never, listener: never) => unknown;

/** A function that makes a server, and its options. */
export type FactoryOptions<Factory extends ServerFactory> = Parameters<Factory>[0] & { readonly createServer: Factory };

export type MessageListener = (req: IncomingMessage, res: ServerResponse) => void;

const tlsOptions = ["key", "cert", "pfx"];

/** Makes the server of `serve()`. `http1Only` says that the listener does not understand requests of HTTP/2. */
export function createServerOf(options: object, listener: MessageListener, http1Only?: MessageClasses): never {
  if (typeof options !== "object" || (options as unknown) === null)
    throw optionError("serve()", `takes an object such as { createServer, key, cert }, not ${kindOf(options)}`);
  const { createServer: make, ...others } = options as { readonly createServer?: unknown };
  // Node would ignore them, and the server would speak plain HTTP.
  const tls = make === undefined ? tlsOptions.find((name) => name in others) : undefined;
  if (tls !== undefined)
    throw optionError(`serve().${tls}`, "needs createServer, such as { createServer: https.createServer, key, cert }");
  if (make === undefined) return createServer({ ...others, ...http1Only }, listener) as never;
  checkFunction("serve().createServer", make);
  const factory = make as (options: object, listener: MessageListener) => never;
  if (http1Only === undefined) return factory(others, listener);
  const { IncomingMessage: Http1IncomingMessage, ServerResponse: Http1ServerResponse } = http1Only;
  // The names of node:https, and those of node:http2.
  return factory({ ...others, ...http1Only, Http1IncomingMessage, Http1ServerResponse }, (req, res) => {
    if (req.httpVersionMajor === 1) return listener(req, res);
    res.statusCode = 505;
    res.end();
  });
}

/** The prototypes of the requests and responses of an application. */
export interface MessagePrototypes {
  request: object;
  response: object;
}

export type MessageClasses = Required<Pick<ServerOptions, "IncomingMessage" | "ServerResponse">>;

/** The classes of each application. A second server must not lengthen the chain of prototypes, which would slow the first. */
const known = new WeakMap<MessagePrototypes, MessageClasses>();

/** The prototypes of requests that nobody must change. */
const served = new WeakSet<object>();

/**
 * The classes of requests and responses with the prototypes of the application, so that no prototype must be changed for a
 * request. The prototypes of the classes replace those of the application: a constructor with a changed prototype would make
 * instances that are slow to use.
 */
export function messageClassesOf(app: MessagePrototypes): MessageClasses {
  const existing = known.get(app);
  if (existing !== undefined) return existing;
  class Request extends IncomingMessage {}
  class Response extends ServerResponse {}
  app.request = replacePrototype(app.request, Request.prototype);
  app.response = replacePrototype(app.response, Response.prototype);
  const classes = { IncomingMessage: Request, ServerResponse: Response } as MessageClasses;
  known.set(app, classes);
  served.add(Request.prototype);
  return classes;
}

/** Moves the properties of an object to its new prototype. Applications mounted below still inherit from the object. */
function replacePrototype<T extends object>(first: T, second: T): T {
  Object.setPrototypeOf(second, Object.getPrototypeOf(first) as object);
  Object.defineProperties(second, Object.getOwnPropertyDescriptors(first));
  for (const name of Reflect.ownKeys(first)) Reflect.deleteProperty(first, name);
  Object.setPrototypeOf(first, second);
  return second;
}

/** Does V8 forget hidden classes behind a changed prototype? It does before version 13, in Node 20 and 22. */
const forgetsClasses = Number.parseInt(process.versions.v8, 10) < 13;

/**
 * Lets messages whose prototypes Express has changed share their hidden classes. Behind a changed prototype V8 gives each object
 * a hidden class of its own as soon as a property is added. It then remembers for no object where its properties are, and each
 * access costs half a microsecond, each new property three. If a property is removed, V8 moves all properties to a table, and
 * one hidden class serves all objects with a table. The property is added again, so only its place among the keys has changed.
 */
export function shareHiddenClasses(req: object, res: object | null | undefined): void {
  if (!forgetsClasses || served.has(Object.getPrototypeOf(req) as object)) return;
  renew(req, "res");
  if (typeof res === "object" && res !== null) renew(res, "req");
}

/** Removes a property that is not the last one, and adds it again. */
function renew(message: object, name: "req" | "res"): void {
  const property = Object.getOwnPropertyDescriptor(message, name);
  // An object that is not extensible would lose the property.
  if (property?.configurable === true && Object.isExtensible(message) && Reflect.deleteProperty(message, name))
    Object.defineProperty(message, name, property);
}
