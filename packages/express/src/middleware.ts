import type { Attachment, Check, Verdict } from "@portcullis/core/adapter";
import { decorateRequest, errorOf, lateError, writeAnswer } from "@portcullis/core/adapter";
import type { Request, RequestHandler } from "express";
import { exchangeOf } from "./exchange.js";

/** Makes Express middleware of a check. It writes the answer, or shows the facts on the request and calls `next`. */
export function bindCheck(check: Check<Request>, property: string, attachment: Attachment): RequestHandler {
  return function portcullisMiddleware(req, res, next) {
    // The caller is not an Express application.
    if (typeof next !== "function" || (req.app as unknown) === undefined) {
      const error = decorateRequest(req, res, next);
      if (error !== undefined) return next(error);
    }
    const exchange = exchangeOf(req, attachment);

    function apply(verdict: Verdict): void {
      if (!verdict.allowed) exchange.state.refuse(attachment, verdict);
      if (!verdict.allowed && res.headersSent) return next(lateError(verdict));
      try {
        if (!verdict.allowed) return writeAnswer(res, verdict);
        exchange.state.showFacts(req, property);
        if (!res.headersSent) for (const [name, value] of verdict.headers) res.setHeader(name, value);
      } catch (error) {
        // A property without a setter, or a function of other middleware. Nobody hears an error after a promise.
        return fail(error, verdict);
      }
      next();
    }

    /** @param verdict The verdict that could not be applied; none if the check has thrown. */
    function fail(thrown: unknown, verdict?: Verdict): void {
      if (verdict === undefined) {
        exchange.state.fail(attachment, thrown);
        attachment.thrown?.watch(exchange, thrown, () => req.route as unknown);
      }
      try {
        exchange.state.showRefusal(req, thrown);
      } catch (error) {
        return next(error);
      }
      next(errorOf(thrown));
    }

    let verdict: Verdict | Promise<Verdict>;
    try {
      verdict = check(exchange);
    } catch (error) {
      return fail(error);
    }
    if (verdict instanceof Promise) verdict.then(apply, fail);
    else apply(verdict);
  };
}
