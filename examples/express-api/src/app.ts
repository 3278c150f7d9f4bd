import { portcullis } from "@portcullis/express";
import type { ExpressGate, ExpressOptions } from "@portcullis/express";
import express from "express";
import type { Express } from "express";
import { answerError, authOf, sendFile, sendProblem } from "./answers.js";
import { developmentRoutes } from "./development.js";
import { confirmRoute, emailRoutes } from "./email.js";
import { openLive, topicOf } from "./live.js";
import { findOrder, findOrders, parseItem, placeOrder, summarizeOrders } from "./orders.js";
import { loadPage } from "./page.js";
import type { RedisSwitch } from "./redis-switch.js";
import { signInRoutes } from "./sign-in.js";
import { audience, cookieOptions, issuer } from "./tokens.js";
import type { UserStore } from "./users.js";

export interface AppOptions {
  readonly redis: ExpressOptions["redis"];
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

export function createApp(options: AppOptions): { app: Express; gate: ExpressGate } {
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

  const app = express();
  app.disable("x-powered-by");
  app.set("trust proxy", trustedProxies);
  app.use(gate.routes.health());

  for (const [path, file] of loadPage(production)) app.get(path, (req, res) => sendFile(res, file));
  app.use(signInRoutes(gate, users, secret, live));
  app.use(confirmRoute(gate, users));
  if (!production && redisSwitch !== undefined) app.use(developmentRoutes(redisSwitch));

  // What comes below needs a token.
  app.use(gate.guard());

  app.get("/sessions", async (req, res) => {
    const { subject, sessionId } = authOf(req);
    const sessions = await gate.sessions.list(authOf(req));
    res.set("Cache-Control", "no-store").json({ subject, current: sessionId, sessions });
  });

  app.delete("/sessions", async (req, res) => {
    const ended = await gate.sessions.revokeOthers(authOf(req));
    live.sessionsChanged(authOf(req).subject);
    res.json({ ended });
  });

  app.delete("/sessions/:id", async (req, res) => {
    const ended = await gate.sessions.revoke(authOf(req), req.params.id);
    if (!ended) return sendProblem(res, 404);
    live.sessionsChanged(authOf(req).subject);
    res.sendStatus(204);
  });

  // Ends with the session, and with the access token.
  app.get("/events", gate.events({ channel: live.channel, topics: ({ auth }) => [topicOf(auth.subject)] }));

  app.use(emailRoutes(gate, users, publicUrl));

  app.get("/orders", async (req, res) => {
    const { subject } = authOf(req);
    // Read before the orders, so that a page that listens from here on misses none.
    const lastEventId = await live.channel.lastId().catch(() => "");
    res.set("Last-Event-ID", lastEventId);
    const read = { hit: true };
    const orders = await req.cache.forUser().getOrSet({ key: "orders" }, () => {
      read.hit = false;
      return findOrders(subject);
    });
    // The form of RFC 9211.
    res.set("Cache-Status", read.hit ? "orders; hit" : "orders; fwd=miss").json(orders);
  });

  // A double click, or a retry of a client that got no answer, makes one order.
  const once = gate.idempotency({ required: true, onConflict: "wait" });
  const orderLimit = gate.limit({ name: "orders", per: "user", limit: 20, window: "1m" });
  app.post("/orders", orderLimit, once, express.json({ limit: 1024 }), async (req, res) => {
    const item = parseItem(req.body);
    if (item === undefined) return sendProblem(res, 400);
    const order = await placeOrder(authOf(req).subject, item);
    await req.cache.forUser().delete("orders");
    live.orderPlaced(order);
    res.status(201).location(`/orders/${order.id}`).json(order);
  });

  app.get("/orders/:id", async (req, res) => {
    const { id } = req.params;
    const order = await req.cache.getOrSet({ key: `order:${id}` }, () => findOrder(id));
    // Somebody else's order looks like none.
    if (order?.owner !== authOf(req).subject) return sendProblem(res, 404);
    res.json(order);
  });

  app.get("/admin/stats", gate.requireScopes("admin"), async (req, res) => {
    res.json(await summarizeOrders());
  });

  app.use((req, res) => sendProblem(res, 404));
  app.use(answerError);

  return { app, gate };
}
