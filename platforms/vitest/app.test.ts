import { portcullis } from "@portcullis/express";
import { createTokenFactory } from "@portcullis/express/testing";
import express from "express";
import request from "supertest";
import { afterAll, expect, test } from "vitest";

const tokens = createTokenFactory({ audience: "orders-api" });
const gate = portcullis({ redis: "memory", auth: tokens.auth });
const app = express();
app.use(gate.guard());
app.get("/me", (req, res) => res.json({ subject: req.auth?.subject }));
afterAll(() => gate.close());

test("admits users and refuses strangers", async () => {
  await request(app).get("/me").expect(401).expect("WWW-Authenticate", "Bearer");
  const token = await tokens.sign({ sub: "alice" });
  await request(app).get("/me").auth(token, { type: "bearer" }).expect(200, { subject: "alice" });
  expect(gate.health().status).toBe("up");
});
