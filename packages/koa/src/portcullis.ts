import { createGate } from "@portcullis/core";
import type { Gate, PortcullisOptions } from "@portcullis/core";
import type { Context, Middleware } from "koa";
import { bindCheck } from "./middleware.js";

export type KoaOptions = PortcullisOptions<Context>;
export type KoaGate = Gate<Context, Middleware>;

/**
 * A gate for Koa 2.15 and 3: `app.use(gate.guard())`. Wrong options throw a TypeError or RangeError at once.
 * Handlers find the facts as `ctx.auth`, `ctx.cache` and `ctx.quotas`.
 */
export function portcullis(options: KoaOptions = {}): KoaGate {
  return createGate(options, bindCheck);
}
