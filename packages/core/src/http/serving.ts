import { IncomingMessage, ServerResponse } from "node:http";
import type { Server, ServerOptions } from "node:http";

/** What a gate does for an application as a whole. */
export interface Serving<App> {
  /**
   * An HTTP server for the application, as `http.createServer(app)` makes one, not listening yet. Express changes the
   * prototypes of every request and response, which costs more than the whole guard on Node 20 and 22; here they have the
   * right ones from the start. What you put on `express.request` or `app.request` works as ever, whenever you do.
   */
  serve(app: App, options?: ServeOptions): Server;
}

/** Options of node:http's `createServer()`. */
export type ServeOptions = Omit<ServerOptions, "IncomingMessage" | "ServerResponse">;

/** What requests and responses of an application inherit. */
export interface MessagePrototypes {
  request: object;
  response: object;
}

export type MessageClasses = Required<Pick<ServerOptions, "IncomingMessage" | "ServerResponse">>;

/** By application: a second server of one must not lengthen the chain of prototypes, and slow the first one down. */
const known = new WeakMap<MessagePrototypes, MessageClasses>();

/**
 * Classes whose instances inherit what the application's requests and responses do, so that there is no prototype to
 * change. The prototypes of the classes become the application's own; a constructor that had been given another prototype
 * would make instances that are slow to use.
 */
export function messageClassesOf(app: MessagePrototypes): MessageClasses {
  const made = known.get(app);
  if (made !== undefined) return made;
  class Request extends IncomingMessage {}
  class Response extends ServerResponse {}
  app.request = takePlaceOf(app.request, Request.prototype);
  app.response = takePlaceOf(app.response, Response.prototype);
  const classes = { IncomingMessage: Request, ServerResponse: Response } as MessageClasses;
  known.set(app, classes);
  return classes;
}

/** Moves what an object has to another, and puts that above it, since applications mounted below inherit from the first. */
function takePlaceOf<T extends object>(first: T, second: T): T {
  Object.setPrototypeOf(second, Object.getPrototypeOf(first) as object);
  Object.defineProperties(second, Object.getOwnPropertyDescriptors(first));
  for (const name of Reflect.ownKeys(first)) Reflect.deleteProperty(first, name);
  Object.setPrototypeOf(first, second);
  return second;
}
