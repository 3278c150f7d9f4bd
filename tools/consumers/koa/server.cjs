const assert = require("node:assert/strict");
const { portcullis } = require("@portcullis/koa");
const unaugmented = require("@portcullis/koa/unaugmented");
const Koa = require("koa");
const { drive, options } = require("../drive.mjs");

assert.equal(unaugmented.portcullis, portcullis, "one implementation behind both entries");
const gate = portcullis(options);
const app = new Koa();
app.use(gate.guard());
app.use((ctx) => {
  ctx.body = { subject: ctx.auth.subject, remaining: ctx.quotas[0].remaining };
});

void drive(app.listen(0, "127.0.0.1"), gate);
