import { portcullis } from "@portcullis/koa";
import { createSchema, createYoga } from "graphql-yoga";
import Koa from "koa";

export const gate = portcullis({
  redis: process.env.REDIS_URL,
  // The machine of the check may be busy.
  deadline: "2s",
  auth: { secret: process.env.JWT_SECRET, algorithms: ["HS256"], audience: "orders-api" },
});

const yoga = createYoga<Koa.Context>({
  schema: createSchema<Koa.Context>({
    typeDefs: `type Query { me: String }`,
    resolvers: { Query: { me: (_: unknown, __: unknown, ctx) => ctx.auth?.subject } },
  }),
});

export const app = new Koa();
app.use(gate.guard());
app.use(async (ctx) => {
  const response = await yoga.handleNodeRequestAndResponse(ctx.req, ctx.res, ctx);
  ctx.status = response.status;
  for (const [name, value] of response.headers) ctx.append(name, value);
  ctx.body = response.body;
});
