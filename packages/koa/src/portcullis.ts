import type { Gate, PortcullisOptions, Serving } from "@portcullis/core";
import { createGate, createServerOf } from "@portcullis/core/adapter";
import type Koa from "koa";
import type { Context, Middleware } from "koa";
import { bindCheck } from "./middleware.js";

export type KoaOptions = PortcullisOptions<Context>;
export type KoaGate = Gate<Context, Middleware> & Serving<Koa>;

/**
 * A gate for Koa 2.15 and 3: `app.use(gate.guard())`. Wrong options throw a TypeError or RangeError at once.
 * Handlers find the facts as `ctx.auth`, `ctx.cache` and `ctx.quotas`.
 */
export function portcullis(options: KoaOptions = {}): KoaGate {
  const serving: Serving<Koa> = {
    serve(app: Koa, serverOptions: object = {}) {
      const handle = app.callback();
      return createServerOf(serverOptions, (req, res) => void handle(req, res));
    },
  };
  return Object.assign(createGate(options, bindCheck), serving);
}
