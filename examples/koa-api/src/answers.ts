import type { Auth } from "@portcullis/koa";
import type { Context, Next } from "koa";
import type { PageFile } from "./page.js";
import { createProblem, describeError } from "./problems.js";

/** Who is asking. Behind the guard that is always known. */
export function authOf({ auth }: Context): Auth {
  if (auth === undefined) throw new Error("this route is not behind the guard");
  return auth;
}

export function sendProblem(ctx: Context, status: number): void {
  ctx.status = status;
  ctx.type = "application/problem+json; charset=utf-8";
  ctx.body = createProblem(status);
}

export function sendFile(ctx: Context, { headers, body }: PageFile): void {
  ctx.body = body;
  ctx.set(headers);
}

export async function answerErrors(ctx: Context, next: Next): Promise<void> {
  try {
    await next();
  } catch (error) {
    if (ctx.headerSent) throw error;
    const { status, headers } = describeError(error);
    if (status >= 500) console.error(error);
    ctx.set(headers);
    sendProblem(ctx, status);
  }
}
