// AWS Lambda: every adapter, with Express and Koa, for every source of events.
import assert from "node:assert/strict";
import codegenie from "@codegenie/serverless-express";
import { createTokenFactory } from "@portcullis/express/testing";
import vendia from "@vendia/serverless-express";
import serverlessHttp from "serverless-http";
import { check, prefix, redis } from "../check.mjs";
import { readAnswer, sources } from "./events.mjs";
import { createExpress } from "./express.mjs";
import { createKoa } from "./koa.mjs";

const adapters = [
  { adapter: "@codegenie/serverless-express", wrap: (app) => (codegenie.configure ?? codegenie)({ app }) },
  { adapter: "@vendia/serverless-express", wrap: (app) => (vendia.configure ?? vendia)({ app }) },
  { adapter: "serverless-http", wrap: (app) => serverlessHttp(app) },
];
const frameworks = [
  { framework: "Express", create: createExpress },
  { framework: "Koa", create: createKoa },
];
const tokens = createTokenFactory({ audience: "orders-api" });

/** Lambda gives every call a context, and the function answers with a promise. */
async function invoke(handler, event) {
  const context = { awsRequestId: "r", functionName: "orders", callbackWaitsForEmptyEventLoop: true };
  return readAnswer(await handler(event, context, () => assert.fail("the adapter answers with a promise")));
}

let count = 0;
for (const { adapter, wrap } of adapters)
  for (const { framework, create } of frameworks)
    for (const { source, eventOf, behindProxy } of sources) {
      const options = { redis, prefix: `${prefix}${(count += 1)}:`, deadline: 1000, behindProxy, auth: tokens.auth };
      const limits = [{ name: "ip", per: "ip", limit: 6, window: "1h" }];
      const { gate, app } = create({ ...options, limits });
      const handler = wrap(app);
      const send = (method, path, { token, body = null, address = "198.51.100.7", headers = {} } = {}) => {
        const fields = { host: "api.example.com", accept: "application/json", ...headers };
        if (token !== undefined) fields.authorization = `Bearer ${token}`;
        if (body !== null)
          Object.assign(fields, { "content-type": "application/json", "content-length": `${body.length}` });
        return invoke(handler, eventOf({ method, path, headers: fields, body, address }));
      };

      await check(
        `${framework} behind ${adapter}, ${source}: refuses, admits, signs out, counts, signs in`,
        async () => {
          const refused = await send("GET", "/me");
          assert.equal(refused.status, 401);
          assert.equal(refused.fields["www-authenticate"], "Bearer");
          assert.equal(refused.fields["content-type"], "application/problem+json");
          assert.equal(JSON.parse(refused.text).code, "credentials_required");

          const token = await tokens.sign({ sub: "alice" });
          const admitted = await send("GET", "/me", { token });
          assert.equal(admitted.status, 200);
          assert.deepEqual(JSON.parse(admitted.text), { subject: "alice" });
          assert.equal((await send("POST", "/logout", { token })).status, 204);
          assert.equal((await send("GET", "/me", { token })).status, 401);

          // Of six requests of this address four were made. Another address has six of its own.
          const other = await tokens.sign({ sub: "bob" });
          for (const status of [200, 200, 429])
            assert.equal((await send("GET", "/me", { token: other })).status, status);
          assert.equal((await send("GET", "/me", { token: other, address: "203.0.113.5" })).status, 200);
          const forged = await send("GET", "/me", { token: other, headers: { "x-forwarded-for": "192.0.2.99" } });
          assert.equal(forged.status, 429, "a client cannot choose its address");

          for (const username of ["u1", "u2", "u3", "u4", "u5"]) {
            const body = JSON.stringify({ username });
            assert.equal((await send("POST", "/login", { body, address: "203.0.113.9" })).status, 204);
          }
        },
      );
      await gate.close();
    }
