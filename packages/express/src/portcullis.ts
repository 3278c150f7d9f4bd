import type { Gate, PortcullisOptions, Serving } from "@portcullis/core";
import { createGate, createServerOf, messageClassesOf } from "@portcullis/core/adapter";
import type { Express, Request, RequestHandler } from "express";
import { bindCheck } from "./middleware.js";

export type ExpressOptions = PortcullisOptions<Request>;
export type ExpressGate = Gate<Request, RequestHandler> & Serving<Express>;

/**
 * A gate for Express 4.18 and 5: `app.use(gate.guard())`. Wrong options throw a TypeError or RangeError at once.
 * Handlers find the facts as `req.auth`, `req.cache` and `req.quotas`.
 */
export function portcullis(options: ExpressOptions = {}): ExpressGate {
  const serving: Serving<Express> = {
    serve: (app: Express, serverOptions: object = {}) => createServerOf(serverOptions, app, messageClassesOf(app)),
  };
  return Object.assign(createGate(options, bindCheck), serving);
}
