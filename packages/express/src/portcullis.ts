import { createGate } from "@portcullis/core";
import type { Gate, PortcullisOptions } from "@portcullis/core";
import type { Request, RequestHandler } from "express";
import { bindCheck } from "./middleware.js";

export type ExpressOptions = PortcullisOptions<Request>;
export type ExpressGate = Gate<Request, RequestHandler>;

/**
 * A gate for Express 4.18 and 5: `app.use(gate.guard())`. Wrong options throw a TypeError or RangeError at once.
 * Handlers find the facts as `req.auth`, `req.cache` and `req.quotas`.
 */
export function portcullis(options: ExpressOptions = {}): ExpressGate {
  return createGate(options, bindCheck);
}
