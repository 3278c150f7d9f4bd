import type { Attachment, Check, Interception, Verdict } from "@portcullis/core/adapter";
import {
  answerHeld,
  callError,
  callHandler,
  failCall,
  failWithError,
  registerMiddleware,
} from "@portcullis/core/adapter";
import { beginHandling, endHandling, runBehind, watchAttempt } from "@portcullis/core/adapter";
import type { Context, Middleware, Next } from "koa";
import { exchangeOf } from "./exchange.js";
import type { KoaExchange } from "./exchange.js";

/** Makes Koa middleware of a check. It writes the answer, or shows the facts on the context and calls `next`. */
export function bindCheck(check: Check<Context>, property: string, attachment: Attachment): Middleware {
  // Not async: most requests are decided at once, and wait for their handler as they would without this middleware.
  const middleware: Middleware = function portcullisMiddleware(ctx, next, callback?: unknown): Promise<unknown> {
    if (typeof next !== "function" || typeof ctx.originalUrl !== "string" || (ctx.request as unknown) === undefined)
      return failCall(callError("middleware for Koa was called without a context of Koa and next"), callback);
    const exchange = exchangeOf(ctx, attachment);
    exchange.middleware = middleware;
    beginHandling(exchange);
    let answer: Verdict | Promise<Verdict>;
    try {
      answer = check(exchange);
    } catch (error) {
      return fail(exchange, attachment, error);
    }
    if (!(answer instanceof Promise)) return apply(exchange, answer, next);
    return answer.then(
      (verdict) => apply(exchange, verdict, next),
      (error: unknown) => fail(exchange, attachment, error),
    );
  };
  return registerMiddleware(middleware);

  function apply(exchange: KoaExchange, verdict: Verdict, next: Next): Promise<unknown> {
    const { raw: ctx, state } = exchange;
    if (!verdict.allowed) state.refuse(attachment, verdict);
    try {
      if (!verdict.allowed) answerHeld(ctx, verdict);
      else {
        // Not `ctx.set()`, which takes several times as long.
        if (!ctx.headerSent) for (const [name, value] of verdict.headers) ctx.res.setHeader(name, value);
        state.showFacts(ctx, property);
        const interception = exchange.takeInterception();
        // What waits for the end of the handler was added by the check.
        if (state.facts.loginAttempt !== undefined || interception !== undefined || exchange.awaiting !== undefined)
          return handle(exchange, interception, next);
      }
    } catch (error) {
      endHandling(exchange);
      return failWithError(error);
    }
    endHandling(exchange);
    return verdict.allowed ? callHandler(next) : Promise.resolve();
  }
}

function fail(exchange: KoaExchange, attachment: Attachment, error: unknown): Promise<never> {
  endHandling(exchange);
  exchange.state.fail(attachment, error);
  exchange.state.showRefusal(exchange.raw, error);
  return failWithError(error);
}

/** Runs everything behind the middleware, and tells those who wait for its end. */
async function handle(exchange: KoaExchange, interception: Interception | undefined, next: Next): Promise<void> {
  const { loginAttempt } = exchange.state.facts;
  try {
    if (interception !== undefined) await runBehind(exchange.raw, interception, next);
    else await (loginAttempt === undefined ? next() : watchAttempt(loginAttempt, next));
  } finally {
    endHandling(exchange);
  }
}
