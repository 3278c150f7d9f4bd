import type { Context } from "koa";

/** The JSON body of a request; undefined if it is of another type. 413 if it is too long, 400 if it is not JSON. */
export async function readJson(ctx: Context, mostBytes: number): Promise<unknown> {
  if (!ctx.is("application/json")) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of ctx.req as AsyncIterable<Buffer>) {
    size += chunk.length;
    // The rest is read and dropped: to stop reading would end the connection before the answer.
    if (size <= mostBytes) chunks.push(chunk);
  }
  if (size > mostBytes) ctx.throw(413);
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8")) as unknown;
  } catch {
    return ctx.throw(400);
  }
}
