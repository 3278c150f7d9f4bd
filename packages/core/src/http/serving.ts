import { IncomingMessage, ServerResponse } from "node:http";
import type { Server, ServerOptions } from "node:http";

/** The part of a gate that serves a whole application. */
export interface Serving<App> {
  /**
   * Makes an HTTP server for the application, as `http.createServer(app)` does; it does not listen yet. Express changes the
   * prototypes of every request and response, which costs more than the whole guard on Node 20 and 22. The requests and
   * responses of this server have the right prototypes from the start. Properties of `express.request` and `app.request` work as
   * usual, also if they are added later.
   */
  serve(app: App, options?: ServeOptions): Server;
}

/** Options of node:http's `createServer()`. */
export type ServeOptions = Omit<ServerOptions, "IncomingMessage" | "ServerResponse">;

/** The prototypes of the requests and responses of an application. */
export interface MessagePrototypes {
  request: object;
  response: object;
}

export type MessageClasses = Required<Pick<ServerOptions, "IncomingMessage" | "ServerResponse">>;

/** The classes of each application. A second server must not lengthen the chain of prototypes, which would slow the first. */
const known = new WeakMap<MessagePrototypes, MessageClasses>();

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
