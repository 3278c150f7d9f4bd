import type { Attachment, Check, Verdict } from "@portcullis/core/adapter";
import {
  beginHandling,
  endHandling,
  errorOf,
  failCall,
  callError,
  lateError,
  registerMiddleware,
  restoreHeld,
  runBehind,
  watchAttempt,
} from "@portcullis/core/adapter";
import type { Context, Middleware } from "koa";
import { exchangeOf } from "./exchange.js";

/** Makes Koa middleware of a check. It writes the answer, or shows the facts on the context and calls `next`. */
export function bindCheck(check: Check<Context>, property: string, attachment: Attachment): Middleware {
  const middleware: Middleware = async function portcullisMiddleware(ctx, next, callback?: unknown) {
    if (typeof next !== "function" || typeof ctx.originalUrl !== "string" || (ctx.request as unknown) === undefined)
      return failCall(callError("middleware for Koa was called without a context of Koa and next"), callback);
    const exchange = exchangeOf(ctx, attachment);
    exchange.middleware = middleware;
    beginHandling(exchange);
    try {
      let verdict: Verdict;
      try {
        const answer = check(exchange);
        verdict = answer instanceof Promise ? await answer : answer;
      } catch (error) {
        exchange.state.showRefusal(ctx, error);
        throw errorOf(error);
      }
      if (!verdict.allowed && ctx.headerSent) {
        const error = lateError(verdict);
        if (error !== undefined) throw error;
        return;
      }
      if (!verdict.allowed && verdict.form !== undefined) return restoreHeld(ctx, verdict);
      if (!ctx.headerSent) for (const [name, value] of verdict.headers) ctx.set(name, value);
      if (!verdict.allowed) {
        ctx.status = verdict.status;
        ctx.body = typeof verdict.body === "string" ? verdict.body : Buffer.from(verdict.body);
        return;
      }
      exchange.state.showFacts(ctx, property);
      const { loginAttempt } = exchange.state.facts;
      const interception = exchange.takeInterception();
      if (interception !== undefined) await runBehind(ctx, interception, next);
      else await (loginAttempt === undefined ? next() : watchAttempt(loginAttempt, next));
    } finally {
      endHandling(exchange);
    }
  };
  return registerMiddleware(middleware);
}
