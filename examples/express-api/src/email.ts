import type { ExpressGate } from "@portcullis/express";
import { Router, json } from "express";
import { authOf, sendProblem } from "./answers.js";
import type { Confirmation } from "./mail.js";
import { mailLink, purpose } from "./mail.js";
import type { UserStore } from "./users.js";
import { parseEmail } from "./users.js";

const parse = json({ limit: 4096 });

/** What the button on the page of the link calls. Nobody needs to be signed in: the token proves who has read the mail. */
export function confirmRoute(gate: ExpressGate, users: UserStore): Router {
  // Whoever asks may be anybody.
  const limit = gate.limit({ name: "confirmations", per: "ip", limit: 20, window: "1m" });
  return Router().post("/auth/confirm", limit, parse, async (req, res) => {
    const { token } = Object(req.body) as { token?: unknown };
    const value = await gate.oneTime.consume<Confirmation>(purpose, token);
    if (value === undefined) return sendProblem(res, 410);
    const { user, email } = value.data;
    users.setEmail(user, email);
    res.json({ email });
  });
}

/** The address of the user, behind the guard. */
export function emailRoutes(gate: ExpressGate, users: UserStore, publicUrl: () => string): Router {
  const router = Router();

  router.get("/email", (req, res) => {
    res.set("Cache-Control", "no-store").json({ email: users.findEmail(authOf(req).subject) ?? null });
  });

  const limit = gate.limit({ name: "mails", per: "user", limit: 10, window: "1h" });
  router.post("/email", limit, parse, async (req, res) => {
    const email = parseEmail(req.body);
    if (email === undefined) return sendProblem(res, 400);
    const subject = authOf(req);
    const data: Confirmation = { user: subject.subject, email };
    // The links of earlier mails end: only the newest address can be confirmed.
    await gate.oneTime.revoke(purpose, subject);
    const { token } = await gate.oneTime.issue(purpose, data, { ttl: "1d", subject });
    mailLink(publicUrl(), email, token);
    res.sendStatus(202);
  });

  return router;
}
