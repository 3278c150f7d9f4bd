import type { Auth } from "@portcullis/express";
import type { ErrorRequestHandler, Request, Response } from "express";
import type { PageFile } from "./page.js";
import { createProblem, describeError } from "./problems.js";

/** Who is asking. Behind the guard that is always known. */
export function authOf({ auth }: Request): Auth {
  if (auth === undefined) throw new Error("this route is not behind the guard");
  return auth;
}

export function sendProblem(res: Response, status: number): void {
  res.status(status).type("application/problem+json").json(createProblem(status));
}

export function sendFile(res: Response, { headers, body }: PageFile): void {
  res.set(headers).send(body);
}

/** Express knows an error handler by its four parameters. */
export const answerError: ErrorRequestHandler = (error, req, res, next) => {
  if (res.headersSent) return next(error);
  const { status, headers } = describeError(error);
  if (status >= 500) console.error(error);
  res.set(headers);
  sendProblem(res, status);
};
