import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import type { Auth } from "@portcullis/core";
import type { NextFunction, Request, Response } from "express";
import type { Context } from "koa";
import type { AnyMiddleware } from "./app.js";

/** What a handler sees, whichever framework runs it. */
export interface OriginRequest {
  readonly method: string;
  readonly url: string;
  /** As the framework's parser reads it. */
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: IncomingHttpHeaders;
  readonly auth: Auth | undefined;
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
}

/** What a handler says. */
export interface OriginAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Buffer | object | Readable;
  /** The handler has answered by itself. */
  readonly done?: boolean;
}

export type OriginHandler = (request: OriginRequest) => OriginAnswer | Promise<OriginAnswer>;

/** A handler that answers in the usual way of its framework. */
export function origin(handle: OriginHandler): AnyMiddleware {
  async function forExpress(req: Request, res: Response, next: NextFunction): Promise<void> {
    try {
      const { method, originalUrl: url, query, headers, auth } = req;
      const answer = await handle({ method, url, query, headers, auth, message: req, response: res });
      if (answer.done === true) return;
      res.status(answer.status ?? 200);
      for (const [name, value] of Object.entries(answer.headers ?? {})) res.setHeader(name, value);
      if (answer.body instanceof Readable) answer.body.pipe(res);
      else res.send(answer.body);
    } catch (error) {
      next(error);
    }
  }

  async function forKoa(ctx: Context): Promise<void> {
    const { method, originalUrl: url, query, headers, auth } = ctx;
    const answer = await handle({ method, url, query, headers, auth, message: ctx.req, response: ctx.res });
    if (answer.done === true) {
      ctx.respond = false;
      return;
    }
    ctx.status = answer.status ?? 200;
    for (const [name, value] of Object.entries(answer.headers ?? {})) ctx.set(name, value as string | string[]);
    if (answer.body !== undefined) ctx.body = answer.body;
  }

  const both = (first: unknown, second: unknown, third?: unknown): Promise<void> =>
    typeof third === "function"
      ? forExpress(first as Request, second as Response, third as NextFunction)
      : forKoa(first as Context);
  return both;
}
