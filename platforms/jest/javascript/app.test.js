const { createTokenFactory } = require("@portcullis/express/testing");
const request = require("supertest");
const { createApp } = require("./app.js");

const tokens = createTokenFactory({ audience: "orders-api" });
const { app, gate } = createApp({ redis: "memory", auth: tokens.auth });
afterAll(() => gate.close());

test("admits users and refuses strangers", async () => {
  await request(app).get("/me").expect(401).expect("WWW-Authenticate", "Bearer");
  const token = await tokens.sign({ sub: "alice" });
  await request(app).get("/me").auth(token, { type: "bearer" }).expect(200, { subject: "alice" });
});

test("refuses tokens that have expired", async () => {
  const expired = await tokens.sign({ sub: "alice", exp: 1 });
  await request(app).get("/me").auth(expired, { type: "bearer" }).expect(401);
});
