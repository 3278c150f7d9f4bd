import { portcullis } from "@portcullis/express";
import express from "express";
import { createSchema, createYoga } from "graphql-yoga";

export const gate = portcullis({
  redis: process.env.REDIS_URL,
  // The machine of the check may be busy.
  deadline: "2s",
  auth: { secret: process.env.JWT_SECRET, algorithms: ["HS256"], audience: "orders-api" },
});

const yoga = createYoga<{ req: express.Request }>({
  schema: createSchema<{ req: express.Request }>({
    typeDefs: `type Query { me: String }`,
    resolvers: { Query: { me: (_: unknown, __: unknown, { req }) => req.auth?.subject } },
  }),
});

export const app = express();
app.use("/graphql", gate.guard(), (req, res) => void yoga(req, res));
