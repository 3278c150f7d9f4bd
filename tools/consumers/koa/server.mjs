import { portcullis } from "@portcullis/koa";
import Koa from "koa";
import { drive, options } from "../drive.mjs";

const gate = portcullis(options);
const app = new Koa();
app.use(gate.guard());
app.use((ctx) => {
  ctx.body = { subject: ctx.auth.subject, remaining: ctx.quotas[0].remaining };
});

await drive(app.listen(0, "127.0.0.1"), gate);
