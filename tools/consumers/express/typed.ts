// What an Express application's types know about a gate.
import type { Server } from "node:http";
import { DenialError, events, portcullis } from "@portcullis/express";
import type { Auth, ExpressGate, ExpressOptions, Health, Quota, RequestCache } from "@portcullis/express";
import express from "express";
import type { NextFunction, Request, RequestHandler, Response } from "express";
import { instrument } from "@portcullis/express/opentelemetry";
import { createTokenFactory } from "@portcullis/express/testing";
import { exactly } from "../exactly.js";

declare module "@portcullis/express" {
  interface Register {
    claims: { tenant: string };
  }
}

const options: ExpressOptions = {
  redis: process.env.REDIS_URL,
  auth: { secret: process.env.JWT_SECRET, algorithms: ["HS256"], audience: "consumer", issuer: undefined },
  limits: [
    { name: "ip", per: "ip", limit: 300, window: "1m", cost: undefined },
    { name: "tenant", per: (req) => req.get("x-tenant") ?? "none", limit: 60, window: 60_000 },
    {
      name: "plan",
      per: async (req, { auth }) => `${exactly<Request>()(req).method} ${auth?.subject}`,
      limit: (req, { auth }) => (exactly<Auth | undefined>()(auth)?.scopes.includes("pro") ? 600 : req.path.length),
      window: "1h",
    },
  ],
};
const gate = exactly<ExpressGate>()(portcullis(options));
exactly<RequestHandler>()(gate.guard({ checks: [gate.authenticate(), gate.requireScopes("read")] }));
exactly<Health>()(gate.health());
exactly<() => void>()(instrument(gate));
exactly<Promise<string>>()(createTokenFactory({ audience: "consumer" }).sign({ sub: "alice" }));
exactly<boolean>()(events.denied.hasSubscribers);

const app = express();
exactly<Server>()(gate.serve(app, { keepAliveTimeout: 65_000 }));
app.use(gate.unless({ path: ["/healthz", "/public/*"], method: "GET" }, gate.guard({ optional: true })));
app.get("/", gate.limit({ name: "one", per: (req) => req.originalUrl, limit: 1, window: "1s" }), async (req, res) => {
  exactly<string | undefined>()(req.auth?.subject);
  exactly<string | undefined>()(req.auth?.claims.tenant);
  exactly<unknown>()(req.auth?.claims.other);
  exactly<readonly string[] | undefined>()(req.auth?.scopes);
  exactly<RequestCache>()(req.cache);
  exactly<readonly Quota[]>()(req.quotas);
  exactly<number | undefined>()(req.quotas[0]?.remaining);
  exactly<{ id: number }>()(await req.cache.getOrSet({ key: "a", ttl: "30s" }, () => ({ id: 1 })));
  exactly<string[]>()(await req.cache.forUser().getOrSet({ key: "b" }, async () => ["x"]));
  exactly<Date | undefined>()(await req.cache.get<Date>("c"));
  await gate.revocations.revoke(req.auth);
  // @ts-expect-error the request may be anonymous
  exactly<string>()(req.auth.subject);
  // @ts-expect-error facts are read-only
  req.auth.subject = "bob";
  res.sendStatus(204);
});
app.use((error: unknown, _req: Request, res: Response, next: NextFunction) => {
  if (!(error instanceof DenialError)) return next(error);
  res.status(exactly<number>()(error.status)).json({ error: error.code });
});

// @ts-expect-error no such option
portcullis({ redsi: "memory" });
// @ts-expect-error a URL is text
portcullis({ redis: 6379 });
// @ts-expect-error the audience is required
portcullis({ auth: { issuer: "https://id.example.com" } });
// @ts-expect-error no such policy
portcullis({ revocation: { onStoreError: "ignore" } });
// @ts-expect-error no such unit
portcullis({ cache: { ttl: "5 parsecs" } });
// @ts-expect-error a policy has a limit
gate.limit({ name: "a", per: "ip", window: "1m" });
// @ts-expect-error nobody's key is no key
gate.limit({ name: "a", per: (req) => req.get("x-tenant"), limit: 1, window: "1m" });
// @ts-expect-error an Express request is no Koa context
gate.limit({ name: "a", per: (req) => req.querystring, limit: 1, window: "1m" });
// @ts-expect-error no such way
gate.guard({ onDeny: "ignore" });
