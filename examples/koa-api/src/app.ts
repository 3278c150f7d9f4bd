import { portcullis } from "@portcullis/koa";
import type { KoaGate, KoaOptions } from "@portcullis/koa";
import Koa from "koa";
import { answerErrors, authOf, sendFile, sendProblem } from "./answers.js";
import { developmentRoutes } from "./development.js";
import { confirmRoute, emailRoutes } from "./email.js";
import { readJson } from "./body.js";
import { openLive, topicOf } from "./live.js";
import { findOrder, findOrders, parseItem, placeOrder, summarizeOrders } from "./orders.js";
import { loadPage } from "./page.js";
import type { RedisSwitch } from "./redis-switch.js";
import { route } from "./router.js";
import { signInRoutes } from "./sign-in.js";
import { audience, cookieOptions, issuer } from "./tokens.js";
import type { UserStore } from "./users.js";

export interface AppOptions {
  readonly redis: KoaOptions["redis"];
  readonly secret: Uint8Array;
  /** What the digests in keys of Redis are made with. */
  readonly keySecret: string | undefined;
  /** How long a request waits for Redis, in milliseconds. */
  readonly deadlineMs: number;
  /** How many proxies stand before this service: with too few all clients have one address, with too many they choose it. */
  readonly trustedProxies: number;
  readonly users: UserStore;
  /** Where clients reach this service: the links of mails lead there. */
  readonly publicUrl: () => string;
  /** Otherwise, in development, the page has a button that stops Redis. */
  readonly production: boolean;
  /** Used in development only. */
  readonly redisSwitch: RedisSwitch | undefined;
}

export function createApp(options: AppOptions): { app: Koa; gate: KoaGate } {
  const { redis, secret, keySecret, deadlineMs, trustedProxies, users, publicUrl, production, redisSwitch } = options;
  const cookies = cookieOptions(production);
  const gate = portcullis({
    redis,
    keySecret,
    deadline: deadlineMs,
    auth: { audience, realm: "orders", tokenFrom: ["header", { cookie: cookies.access }] },
    tokens: { signingKey: secret, issuer, cookies },
    limits: [
      { name: "ip", per: "ip", limit: 300, window: "1m" },
      { name: "user", per: "user", limit: 1000, window: "1h" },
    ],
    cache: { ttl: "1m" },
  });

  const live = openLive(gate.channels);

  const app = new Koa({ proxy: trustedProxies > 0, maxIpsCount: trustedProxies });
  app.use(answerErrors);
  app.use(gate.routes.health());

  for (const [path, file] of loadPage(production)) app.use(route("GET", path, (ctx) => sendFile(ctx, file)));
  for (const signIn of signInRoutes(gate, users, secret, live)) app.use(signIn);
  app.use(confirmRoute(gate, users));
  if (!production && redisSwitch !== undefined) for (const step of developmentRoutes(redisSwitch)) app.use(step);

  // What comes below needs a token.
  app.use(gate.guard());

  app.use(
    route("GET", "/sessions", async (ctx) => {
      const { subject, sessionId } = authOf(ctx);
      const sessions = await gate.sessions.list(authOf(ctx));
      ctx.set("Cache-Control", "no-store");
      ctx.body = { subject, current: sessionId, sessions };
    }),
  );

  app.use(
    route("DELETE", "/sessions", async (ctx) => {
      const ended = await gate.sessions.revokeOthers(authOf(ctx));
      live.sessionsChanged(authOf(ctx).subject);
      ctx.body = { ended };
    }),
  );

  app.use(
    route("DELETE", "/sessions/:id", async (ctx) => {
      const ended = await gate.sessions.revoke(authOf(ctx), ctx.params.id ?? "");
      if (!ended) return sendProblem(ctx, 404);
      live.sessionsChanged(authOf(ctx).subject);
      ctx.status = 204;
    }),
  );

  // Ends with the session, and with the access token.
  const events = gate.events({ channel: live.channel, topics: ({ auth }) => [topicOf(auth.subject)] });
  app.use(route("GET", "/events", events));

  for (const email of emailRoutes(gate, users, publicUrl)) app.use(email);

  app.use(
    route("GET", "/orders", async (ctx) => {
      const { subject } = authOf(ctx);
      // Read before the orders, so that a page that listens from here on misses none.
      const lastEventId = await live.channel.lastId().catch(() => "");
      ctx.set("Last-Event-ID", lastEventId);
      const read = { hit: true };
      const orders = await ctx.cache.forUser().getOrSet({ key: "orders" }, () => {
        read.hit = false;
        return findOrders(subject);
      });
      // The form of RFC 9211.
      ctx.set("Cache-Status", read.hit ? "orders; hit" : "orders; fwd=miss");
      ctx.body = orders;
    }),
  );

  // A double click, or a retry of a client that got no answer, makes one order.
  const orderLimit = gate.limit({ name: "orders", per: "user", limit: 20, window: "1m" });
  const once = gate.idempotency({ required: true, onConflict: "wait" });
  app.use(
    route("POST", "/orders", orderLimit, once, async (ctx) => {
      const item = parseItem(await readJson(ctx, 1024));
      if (item === undefined) return sendProblem(ctx, 400);
      const order = await placeOrder(authOf(ctx).subject, item);
      await ctx.cache.forUser().delete("orders");
      live.orderPlaced(order);
      ctx.status = 201;
      ctx.set("Location", `/orders/${order.id}`);
      ctx.body = order;
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

  app.use((ctx) => sendProblem(ctx, 404));

  return { app, gate };
}
