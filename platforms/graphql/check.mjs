// GraphQL: Apollo Server and GraphQL Yoga behind a guard.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createTokenFactory } from "@portcullis/express/testing";
import { bearer, check, listen, stop } from "../check.mjs";

const tokens = createTokenFactory({ audience: "orders-api" });
process.env.JWT_SECRET = tokens.auth.secret;
const apollo = await import("../built/graphql/apollo.js");
const yoga = await import("../built/graphql/yoga.js");
const yogaOnKoa = await import("../built/graphql/yoga-koa.js");

const applications = [
  { name: "Apollo Server on Express", gate: apollo.gate, listener: await apollo.createApp() },
  { name: "GraphQL Yoga on Express", gate: yoga.gate, listener: yoga.app },
  { name: "GraphQL Yoga on Koa", gate: yogaOnKoa.gate, listener: yogaOnKoa.app.callback() },
];

async function ask(url, query, token) {
  const headers = { "content-type": "application/json", ...(token === undefined ? {} : bearer(token)) };
  const answer = await fetch(`${url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query }) });
  return { status: answer.status, challenge: answer.headers.get("www-authenticate"), json: await answer.json() };
}

for (const { name, gate, listener } of applications) {
  const server = createServer(listener);
  const url = await listen(server);
  await check(`${name}: resolvers know the user, and strangers reach none`, async () => {
    const stranger = await ask(url, "{ me }");
    assert.deepEqual([stranger.status, stranger.challenge], [401, "Bearer"]);
    assert.deepEqual((await ask(url, "{ me }", await tokens.sign({ sub: "alice" }))).json, { data: { me: "alice" } });
  });
  if (listener === applications[0].listener)
    await check(`${name}: a resolver checks scopes and caches for each user`, async () => {
      const refused = await ask(url, "{ orders }", await tokens.sign({ sub: "alice" }));
      assert.equal(refused.json.errors[0].extensions.code, "FORBIDDEN");
      const reader = await tokens.sign({ sub: "alice", scope: "orders:read" });
      assert.deepEqual((await ask(url, "{ orders }", reader)).json, { data: { orders: ["1", "2"] } });
    });
  await stop(server);
  await gate.close();
}
process.exit(0);
