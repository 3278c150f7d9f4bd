import { portcullis } from "@portcullis/koa";
import Koa from "koa";

export function createKoa({ behindProxy, ...options }) {
  const gate = portcullis(options);
  const app = new Koa({ proxy: behindProxy, maxIpsCount: behindProxy ? 1 : 0 });
  app.silent = true;
  // Adapters hand over the whole body at once, or a stream.
  const login = gate.throttleLogin({ account: (ctx) => ctx.request.body?.username, parallel: 2 });
  app.use(async (ctx, next) => {
    if (ctx.path !== "/login") return next();
    const chunks = [];
    for await (const chunk of ctx.req) chunks.push(Buffer.from(chunk));
    ctx.request.body = JSON.parse(Buffer.concat(chunks).toString() || String(ctx.req.body));
    await login(ctx, async () => void (ctx.status = 204));
  });
  app.use(gate.guard());
  app.use(async (ctx) => {
    if (ctx.path === "/me") return void (ctx.body = { subject: ctx.auth.subject });
    await gate.revocations.revoke(ctx.auth);
    ctx.status = 204;
  });
  return { gate, app };
}
