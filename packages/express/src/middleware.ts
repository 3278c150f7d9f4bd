import type { Check, Denied, Reply, Seat, Verdict } from "@portcullis/core";
import { lateError } from "@portcullis/core";
import type { NextFunction, Request, RequestHandler, Response } from "express";
import { exchangeOf } from "./exchange.js";

/** A check as Express middleware: writes the answer, or the facts on the request, and goes on. */
export function bindCheck(check: Check<Request>, property: string, seat: Seat): RequestHandler {
  return function portcullisMiddleware(req, res, next) {
    const exchange = exchangeOf(req, seat);

    function settle(verdict: Verdict): void {
      if (!verdict.allowed) return respond(verdict, res, next);
      const { auth, cache, quotas, loginAttempt } = exchange.facts;
      const target = req as unknown as Record<string, unknown>;
      target[property] = auth;
      target.cache = cache;
      target.quotas = quotas;
      if (loginAttempt !== undefined) target.loginAttempt = loginAttempt;
      if (!res.headersSent) for (const [name, value] of verdict.headers) res.setHeader(name, value);
      next();
    }

    let verdict: Verdict | Promise<Verdict>;
    try {
      verdict = check(exchange);
    } catch (error) {
      next(error);
      return;
    }
    if (verdict instanceof Promise) verdict.then(settle, next);
    else settle(verdict);
  };
}

function respond(answer: Denied | Reply, res: Response, next: NextFunction): void {
  if (res.headersSent) return next(lateError(answer));
  res.statusCode = answer.status;
  for (const [name, value] of answer.headers) res.setHeader(name, value);
  res.end(answer.body);
}
