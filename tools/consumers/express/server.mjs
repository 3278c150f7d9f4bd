import { portcullis } from "@portcullis/express";
import express from "express";
import { drive, options } from "../drive.mjs";

const gate = portcullis(options);
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => {
  res.json({ subject: req.auth.subject, remaining: req.quotas[0].remaining });
});

await drive(gate.serve(app).listen(0, "127.0.0.1"), gate);
