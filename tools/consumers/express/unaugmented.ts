// Beside a library that declares another `req.auth`.
import { portcullis } from "@portcullis/express/unaugmented";
import type { Auth, ExpressGate, Quota, RequestCache } from "@portcullis/express/unaugmented";
import express from "express";
import { exactly } from "../exactly.js";

declare global {
  namespace Express {
    interface Request {
      auth?: { other: string };
      gate?: Auth | undefined;
    }
  }
}

const gate = exactly<ExpressGate>()(portcullis({ redis: "memory", property: "gate" }));
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => {
  exactly<string | undefined>()(req.auth?.other);
  exactly<string | undefined>()(req.gate?.subject);
  // @ts-expect-error another library's
  exactly<string | undefined>()(req.auth?.subject);
  // @ts-expect-error declared nowhere
  exactly<RequestCache>()(req.cache);
  // @ts-expect-error declared nowhere
  exactly<readonly Quota[]>()(req.quotas);
  res.sendStatus(204);
});
