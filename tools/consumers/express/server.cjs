const assert = require("node:assert/strict");
const { portcullis } = require("@portcullis/express");
const unaugmented = require("@portcullis/express/unaugmented");
const express = require("express");
const { drive, options } = require("../drive.mjs");

assert.equal(unaugmented.portcullis, portcullis, "one implementation behind both entries");
const gate = portcullis(options);
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => {
  res.json({ subject: req.auth.subject, remaining: req.quotas[0].remaining });
});

void drive(app.listen(0, "127.0.0.1"), gate);
