import { portcullis } from "@portcullis/express";
import { secure } from "@portcullis/socket.io";
import express from "express";
import { Server } from "socket.io";
import { drive, options } from "../drive.mjs";

const gate = portcullis(options);
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => {
  res.json({ subject: req.auth.subject, remaining: req.quotas[0].remaining });
});

const server = app.listen(0, "127.0.0.1");
const io = new Server(server);
const secured = secure(io, gate, { limits: [{ limit: "ip" }] });
await drive(server, gate);
await secured.close();
await io.close();
