// What a Koa application's types know about a gate.
import type { Server } from "node:http";
import { DenialError, events, portcullis } from "@portcullis/koa";
import type { Auth, Health, KoaGate, KoaOptions, Quota, RequestCache } from "@portcullis/koa";
import Koa from "koa";
import type { Context, Middleware } from "koa";
import { instrument } from "@portcullis/koa/opentelemetry";
import { createTokenFactory } from "@portcullis/koa/testing";
import { exactly } from "../exactly.js";

declare module "@portcullis/koa" {
  interface Register {
    claims: { tenant: string };
  }
}

const options: KoaOptions = {
  redis: process.env.REDIS_URL,
  auth: { secret: process.env.JWT_SECRET, algorithms: ["HS256"], audience: "consumer", issuer: undefined },
  limits: [
    { name: "ip", per: "ip", limit: 300, window: "1m", cost: undefined },
    { name: "tenant", per: (ctx) => ctx.get("x-tenant"), limit: 60, window: 60_000 },
    {
      name: "plan",
      per: async (ctx, { auth }) => `${exactly<Context>()(ctx).method} ${auth?.subject}`,
      limit: (ctx, { auth }) => (exactly<Auth | undefined>()(auth)?.scopes.includes("pro") ? 600 : ctx.path.length),
      window: "1h",
    },
  ],
};
const gate = exactly<KoaGate>()(portcullis(options));
exactly<Middleware>()(gate.guard({ checks: [gate.authenticate(), gate.requireScopes("read")] }));
exactly<Health>()(gate.health());
exactly<() => void>()(instrument(gate));
exactly<Promise<string>>()(createTokenFactory({ audience: "consumer" }).sign({ sub: "alice" }));
exactly<boolean>()(events.denied.hasSubscribers);

const app = new Koa();
exactly<Server>()(gate.serve(app, { keepAliveTimeout: 65_000 }));
app.use(async (ctx, next) => {
  try {
    await next();
  } catch (error) {
    if (!(error instanceof DenialError)) throw error;
    ctx.status = exactly<number>()(error.status);
    ctx.body = { error: error.code };
  }
});
app.use(gate.unless({ path: ["/healthz", "/public/*"], method: "GET" }, gate.guard({ optional: true })));
app.use(gate.limit({ name: "one", per: (ctx) => ctx.querystring, limit: 1, window: "1s" }));
app.use(async (ctx) => {
  exactly<string | undefined>()(ctx.auth?.subject);
  exactly<string | undefined>()(ctx.auth?.claims.tenant);
  exactly<unknown>()(ctx.auth?.claims.other);
  exactly<readonly string[] | undefined>()(ctx.auth?.scopes);
  exactly<RequestCache>()(ctx.cache);
  exactly<readonly Quota[]>()(ctx.quotas);
  exactly<number | undefined>()(ctx.quotas[0]?.remaining);
  exactly<{ id: number }>()(await ctx.cache.getOrSet({ key: "a", ttl: "30s" }, () => ({ id: 1 })));
  exactly<string[]>()(await ctx.cache.forUser().getOrSet({ key: "b" }, async () => ["x"]));
  exactly<Date | undefined>()(await ctx.cache.get<Date>("c"));
  await gate.revocations.revoke(ctx.auth);
  // @ts-expect-error the request may be anonymous
  exactly<string>()(ctx.auth.subject);
  // @ts-expect-error facts are read-only
  ctx.auth.subject = "bob";
  ctx.status = 204;
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
gate.limit({ name: "a", per: (ctx) => ctx.headers["x-tenant"], limit: 1, window: "1m" });
// @ts-expect-error no such way
gate.guard({ onDeny: "ignore" });
