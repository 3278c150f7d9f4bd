import type { Check, Denied, Reply, Attachment, Verdict } from "@portcullis/core/adapter";
import { adoptMessage, lateError, writeAnswer } from "@portcullis/core/adapter";
import type { NextFunction, Request, RequestHandler, Response } from "express";
import { exchangeOf } from "./exchange.js";

/** A check as Express middleware: writes the answer, or the facts on the request, and goes on. */
export function bindCheck(check: Check<Request>, property: string, attachment: Attachment): RequestHandler {
  return function portcullisMiddleware(req, res, next) {
    // Called by no application of Express.
    if (typeof next !== "function" || (req.app as unknown) === undefined) {
      const error = adoptMessage(req, res, next);
      if (error !== undefined) return next(error);
    }
    const exchange = exchangeOf(req, attachment);

    function settle(verdict: Verdict): void {
      if (!verdict.allowed) return respond(verdict, res, next);
      exchange.state.showFacts(req, property);
      if (!res.headersSent) for (const [name, value] of verdict.headers) res.setHeader(name, value);
      next();
    }

    let verdict: Verdict | Promise<Verdict>;
    try {
      verdict = check(exchange);
    } catch (error) {
      return next(error);
    }
    if (verdict instanceof Promise) verdict.then(settle, next);
    else settle(verdict);
  };
}

function respond(answer: Denied | Reply, res: Response, next: NextFunction): void {
  if (res.headersSent) return next(lateError(answer));
  writeAnswer(res, answer);
}
