const { portcullis } = require("@portcullis/express");
const { secure } = require("@portcullis/socket.io");
const express = require("express");
const { Server } = require("socket.io");
const { drive, options } = require("../drive.mjs");

const gate = portcullis(options);
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => {
  res.json({ subject: req.auth.subject, remaining: req.quotas[0].remaining });
});

const server = app.listen(0, "127.0.0.1");
const io = new Server(server);
const secured = secure(io, gate, { limits: [{ limit: "ip" }] });
void drive(server, gate)
  .then(() => secured.close())
  .then(() => io.close());
