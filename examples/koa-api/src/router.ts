import type { Context, Middleware, Next, ParameterizedContext } from "koa";

declare module "koa" {
  interface ExtendableContext {
    /** What the `:name` segments of the route's path stand for. */
    params: Readonly<Record<string, string>>;
  }
}

/** Runs middleware for one method and path, such as `"/orders/:id"`; other requests go on. */
export function route(method: string, path: string, ...steps: Middleware[]): Middleware {
  const pattern = new RegExp(`^${path.replace(/:(\w+)/g, "(?<$1>[^/]+)")}$`);
  return async function routeMiddleware(ctx, next) {
    const asked = ctx.method === "HEAD" ? "GET" : ctx.method;
    const match = asked === method ? pattern.exec(ctx.path) : null;
    let run = next;
    if (match !== null) {
      ctx.params = decodeAll(ctx, match.groups);
      for (const step of steps.toReversed()) run = bindNext(step, ctx, run);
    }
    await run();
  };
}

function bindNext(step: Middleware, ctx: ParameterizedContext, next: Next): Next {
  return async function runStep() {
    await step(ctx, next);
  };
}

function decodeAll(ctx: Context, segments: Record<string, string> = {}): Record<string, string> {
  try {
    return Object.fromEntries(Object.entries(segments).map(([name, text]) => [name, decodeURIComponent(text)]));
  } catch {
    return ctx.throw(400);
  }
}
