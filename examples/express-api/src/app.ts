import { portcullis } from "@portcullis/express";
import type { Auth, ExpressGate, ExpressOptions } from "@portcullis/express";
import express from "express";
import type { ErrorRequestHandler, Express, Request, Response } from "express";
import { findOrder, findOrders, summarizeOrders } from "./orders.js";
import { createProblem, describeError } from "./problems.js";
import { audience, issuer, lifetimeSeconds, signToken } from "./tokens.js";
import type { UserStore } from "./users.js";
import { parseCredentials } from "./users.js";

export interface AppOptions {
  readonly redis: ExpressOptions["redis"];
  readonly secret: Uint8Array;
  readonly users: UserStore;
}

export function createApp({ redis, secret, users }: AppOptions): { app: Express; gate: ExpressGate } {
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

  const app = express();
  app.disable("x-powered-by");

  app.get("/healthz", (req, res) => {
    const health = gate.health();
    res.status(health.status === "down" ? 503 : 200).json(health);
  });

  app.post("/login", loginLimit, express.json({ limit: 4096 }), async (req, res) => {
    const credentials = parseCredentials(req.body);
    if (credentials === undefined) return sendProblem(res, 400);
    const user = await users.authenticate(credentials.username, credentials.password);
    if (user === undefined) return sendProblem(res, 401);
    res.set("Cache-Control", "no-store");
    res.json({ access_token: await signToken(user, secret), token_type: "Bearer", expires_in: lifetimeSeconds });
  });

  // What comes below needs a token.
  app.use(gate.guard());

  app.get("/orders", async (req, res) => {
    const { subject } = authOf(req);
    res.json(await req.cache.forUser().getOrSet({ key: "orders" }, () => findOrders(subject)));
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

  app.post("/logout", async (req, res) => {
    await gate.revocations.revoke(req.auth);
    res.sendStatus(204);
  });

  app.use((req, res) => sendProblem(res, 404));
  app.use(answerError);

  return { app, gate };
}

/** Who is asking. Behind the guard that is always known. */
function authOf({ auth }: Request): Auth {
  if (auth === undefined) throw new Error("this route is not behind the guard");
  return auth;
}

function sendProblem(res: Response, status: number): void {
  res.status(status).type("application/problem+json").json(createProblem(status));
}

/** Express knows an error handler by its four parameters. */
const answerError: ErrorRequestHandler = (error, req, res, next) => {
  if (res.headersSent) return next(error);
  const { status, headers } = describeError(error);
  if (status >= 500) console.error(error);
  res.set(headers);
  sendProblem(res, status);
};
