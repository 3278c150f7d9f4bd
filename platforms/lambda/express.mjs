// The application of docs/platforms.md, before it becomes a function.
import { portcullis } from "@portcullis/express";
import express from "express";

export function createExpress({ behindProxy, ...options }) {
  const gate = portcullis(options);
  const app = express();
  app.set("env", "test");
  if (behindProxy) app.set("trust proxy", 1);
  app.post(
    "/login",
    express.json(),
    gate.throttleLogin({ account: (req) => req.body?.username, parallel: 2 }),
    (req, res) => res.sendStatus(204),
  );
  app.use(gate.guard());
  app.get("/me", (req, res) => res.json({ subject: req.auth.subject }));
  app.post("/logout", async (req, res) => {
    await gate.revocations.revoke(req.auth);
    res.sendStatus(204);
  });
  return { gate, app };
}
