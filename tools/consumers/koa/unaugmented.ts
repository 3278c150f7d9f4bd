// Beside a library that declares another `ctx.auth`.
import { portcullis } from "@portcullis/koa/unaugmented";
import type { Auth, KoaGate } from "@portcullis/koa/unaugmented";
import Koa from "koa";
import type { ExtendableContext } from "koa";
import { exactly } from "../exactly.js";

declare module "koa" {
  interface ExtendableContext {
    auth?: { other: string };
    gate?: Auth | undefined;
  }
}

const gate = exactly<KoaGate>()(portcullis({ redis: "memory", property: "gate" }));
const app = new Koa();
app.use(gate.guard());
app.use((ctx) => {
  exactly<string | undefined>()(ctx.auth?.other);
  exactly<string | undefined>()(ctx.gate?.subject);
  // @ts-expect-error another library's
  exactly<string | undefined>()(ctx.auth?.subject);
  const declared: "cache" extends keyof ExtendableContext ? true : false = false;
  ctx.body = { declared };
});
