const { createTokenFactory } = require("@portcullis/express/testing");
const request = require("supertest");
const { createApp } = require("./app.js");

test("works on Redis", async () => {
  const tokens = createTokenFactory({ audience: "orders-api" });
  const limits = [{ name: "ip", per: "ip", limit: 2, window: "1h" }];
  const prefix = `jest:${process.pid}-${Date.now()}:`;
  const { app, gate } = createApp({ redis: process.env.REDIS_URL, prefix, auth: tokens.auth, limits });
  const token = await tokens.sign({ sub: "alice" });
  for (const status of [200, 200, 429]) await request(app).get("/me").auth(token, { type: "bearer" }).expect(status);
  await gate.close();
});
