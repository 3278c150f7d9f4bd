import { portcullis } from "@portcullis/koa";
import type { Auth, KoaGate, KoaOptions } from "@portcullis/koa";
import Koa from "koa";
import type { Context, Next } from "koa";
import { readJson } from "./body.js";
import { findOrder, findOrders, summarizeOrders } from "./orders.js";
import { createProblem, describeError } from "./problems.js";
import { route } from "./router.js";
import { audience, issuer, lifetimeSeconds, signToken } from "./tokens.js";
import type { UserStore } from "./users.js";
import { parseCredentials } from "./users.js";

export interface AppOptions {
  readonly redis: KoaOptions["redis"];
  readonly secret: Uint8Array;
  readonly users: UserStore;
}

export function createApp({ redis, secret, users }: AppOptions): { app: Koa; gate: KoaGate } {
  const gate = portcullis({
    redis,
    auth: { secret, algorithms: ["HS256"], issuer, audience, realm: "orders" },
    limits: [
      { name: "ip", per: "ip", limit: 300, window: "1m" },
      { name: "user", per: "user", limit: 1000, window: "1h" },
    ],
    cache: { ttl: "1m" },
  });
  const loginLimit = gate.limit({ name: "login", per: "ip", limit: 10, window: "1m", onStoreError: "local" });

  const app = new Koa();
  app.use(answerErrors);

  app.use(
    route("GET", "/healthz", (ctx) => {
      const health = gate.health();
      ctx.status = health.status === "down" ? 503 : 200;
      ctx.body = health;
    }),
  );

  app.use(
    route("POST", "/login", loginLimit, async (ctx) => {
      const credentials = parseCredentials(await readJson(ctx, 4096));
      if (credentials === undefined) return sendProblem(ctx, 400);
      const user = await users.authenticate(credentials.username, credentials.password);
      if (user === undefined) return sendProblem(ctx, 401);
      ctx.set("Cache-Control", "no-store");
      ctx.body = { access_token: await signToken(user, secret), token_type: "Bearer", expires_in: lifetimeSeconds };
    }),
  );

  // What comes below needs a token.
  app.use(gate.guard());

  app.use(
    route("GET", "/orders", async (ctx) => {
      const { subject } = authOf(ctx);
      ctx.body = await ctx.cache.forUser().getOrSet({ key: "orders" }, () => findOrders(subject));
    }),
  );

  app.use(
    route("GET", "/orders/:id", async (ctx) => {
      const { id = "" } = ctx.params;
      const order = await ctx.cache.getOrSet({ key: `order:${id}` }, () => findOrder(id));
      // Somebody else's order looks like none.
      if (order?.owner !== authOf(ctx).subject) return sendProblem(ctx, 404);
      ctx.body = order;
    }),
  );

  app.use(
    route("GET", "/admin/stats", gate.requireScopes("admin"), async (ctx) => {
      ctx.body = await summarizeOrders();
    }),
  );

  app.use(
    route("POST", "/logout", async (ctx) => {
      await gate.revocations.revoke(ctx.auth);
      ctx.status = 204;
    }),
  );

  app.use((ctx) => sendProblem(ctx, 404));

  return { app, gate };
}

/** Who is asking. Behind the guard that is always known. */
function authOf({ auth }: Context): Auth {
  if (auth === undefined) throw new Error("this route is not behind the guard");
  return auth;
}

function sendProblem(ctx: Context, status: number): void {
  ctx.status = status;
  ctx.type = "application/problem+json; charset=utf-8";
  ctx.body = createProblem(status);
}

async function answerErrors(ctx: Context, next: Next): Promise<void> {
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
