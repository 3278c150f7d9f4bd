const express = require("express");
const { portcullis } = require("@portcullis/express");

/** @param {object} options */
exports.createApp = function createApp(options) {
  const gate = portcullis(options);
  const app = express();
  app.use(gate.guard());
  app.get("/me", (req, res) => res.json({ subject: req.auth.subject }));
  return { app, gate };
};
