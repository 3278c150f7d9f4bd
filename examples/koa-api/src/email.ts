import type { KoaGate } from "@portcullis/koa";
import type { Middleware } from "koa";
import { authOf, sendProblem } from "./answers.js";
import { readJson } from "./body.js";
import type { Confirmation } from "./mail.js";
import { mailLink, purpose } from "./mail.js";
import { route } from "./router.js";
import type { UserStore } from "./users.js";
import { parseEmail } from "./users.js";

/** What the button on the page of the link calls. Nobody needs to be signed in: the token proves who has read the mail. */
export function confirmRoute(gate: KoaGate, users: UserStore): Middleware {
  // Whoever asks may be anybody.
  const limit = gate.limit({ name: "confirmations", per: "ip", limit: 20, window: "1m" });
  return route("POST", "/auth/confirm", limit, async (ctx) => {
    const { token } = Object(await readJson(ctx, 4096)) as { token?: unknown };
    const value = await gate.oneTime.consume<Confirmation>(purpose, token);
    if (value === undefined) return sendProblem(ctx, 410);
    const { user, email } = value.data;
    users.setEmail(user, email);
    ctx.body = { email };
  });
}

/** The address of the user, behind the guard. */
export function emailRoutes(gate: KoaGate, users: UserStore, publicUrl: () => string): Middleware[] {
  const limit = gate.limit({ name: "mails", per: "user", limit: 10, window: "1h" });
  return [
    route("GET", "/email", (ctx) => {
      ctx.set("Cache-Control", "no-store");
      ctx.body = { email: users.findEmail(authOf(ctx).subject) ?? null };
    }),
    route("POST", "/email", limit, async (ctx) => {
      const email = parseEmail(await readJson(ctx, 4096));
      if (email === undefined) return sendProblem(ctx, 400);
      const subject = authOf(ctx);
      const data: Confirmation = { user: subject.subject, email };
      // The links of earlier mails end: only the newest address can be confirmed.
      await gate.oneTime.revoke(purpose, subject);
      const { token } = await gate.oneTime.issue(purpose, data, { ttl: "1d", subject });
      mailLink(publicUrl(), email, token);
      ctx.body = null;
      ctx.status = 202;
    }),
  ];
}
