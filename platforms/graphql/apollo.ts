import { ApolloServer } from "@apollo/server";
import { expressMiddleware } from "@as-integrations/express5";
import { portcullis } from "@portcullis/express";
import type { Auth, RequestCache } from "@portcullis/express";
import express from "express";
import { GraphQLError } from "graphql";

interface Context {
  readonly auth: Auth | undefined;
  readonly cache: RequestCache;
}

export const gate = portcullis({
  redis: process.env.REDIS_URL,
  // The machine of the check may be busy.
  deadline: "2s",
  auth: { secret: process.env.JWT_SECRET, algorithms: ["HS256"], audience: "orders-api" },
});

const typeDefs = `type Query { me: String, orders: [String!] }`;
const resolvers = {
  Query: {
    me: (_: unknown, __: unknown, { auth }: Context) => auth?.subject,
    orders(_: unknown, __: unknown, { auth, cache }: Context) {
      if (!auth?.scopes.includes("orders:read"))
        throw new GraphQLError("The scope orders:read is missing", { extensions: { code: "FORBIDDEN" } });
      return cache.forUser().getOrSet({ key: "orders" }, () => ["1", "2"]);
    },
  },
};

export async function createApp(): Promise<express.Express> {
  const server = new ApolloServer<Context>({ typeDefs, resolvers });
  await server.start();
  const context = async ({ req }: { req: express.Request }): Promise<Context> => ({ auth: req.auth, cache: req.cache });
  const app = express();
  app.use("/graphql", gate.guard(), express.json(), expressMiddleware(server, { context }));
  return app;
}
