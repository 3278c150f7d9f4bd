// Compiled as Nest's own projects are by default: module commonjs, moduleResolution node10.
import "reflect-metadata";
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { createTokenFactory } from "@portcullis/express/testing";
import { NestFactory } from "@nestjs/core";
import type { INestApplication } from "@nestjs/common";

async function listen(app: INestApplication): Promise<string> {
  await app.listen(0, "127.0.0.1");
  const { port } = app.getHttpServer().address() as AddressInfo;
  return `http://127.0.0.1:${port}`;
}

async function main(): Promise<void> {
  const tokens = createTokenFactory({ audience: "orders-api", issuer: "https://id.example.com" });
  process.env.JWT_SECRET = tokens.auth.secret;
  const { gate } = await import("./gate");
  const { AppModule } = await import("./app");
  const { ReportsModule } = await import("./middleware");

  const app = await NestFactory.create(AppModule, { logger: false });
  const orders = `${await listen(app)}/orders`;
  const refused = await fetch(orders);
  assert.equal(refused.status, 401);
  assert.equal(refused.headers.get("www-authenticate"), "Bearer");
  assert.match(refused.headers.get("content-type") ?? "", /^application\/problem\+json/);
  assert.equal(((await refused.json()) as { code: string }).code, "credentials_required");

  const headers = { authorization: `Bearer ${await tokens.sign({ sub: "alice", scope: "orders:read" })}` };
  const listed = await fetch(orders, { headers });
  assert.equal(listed.status, 200);
  assert.deepEqual(await listed.json(), { subject: "alice" });
  assert.match(listed.headers.get("ratelimit") ?? "", /"ip"/);
  const missing = await fetch(orders, { method: "POST", headers });
  assert.equal(missing.status, 403);
  assert.match(missing.headers.get("www-authenticate") ?? "", /insufficient_scope.*orders:write/);
  assert.equal((await fetch(`${orders}/logout`, { method: "POST", headers })).status, 201);
  const ended = await fetch(orders, { headers });
  assert.equal(ended.status, 401);
  assert.match(ended.headers.get("www-authenticate") ?? "", /invalid_token/);
  await app.close();

  const plain = await NestFactory.create(ReportsModule, { logger: false });
  const reports = `${await listen(plain)}/reports`;
  assert.equal((await fetch(reports)).headers.get("www-authenticate"), "Bearer");
  const other = { authorization: `Bearer ${await tokens.sign({ sub: "bob" })}` };
  assert.deepEqual(await (await fetch(reports, { headers: other })).json(), { subject: "bob" });
  await plain.close();
  await gate.close();
  console.log("  ok  Nest: guards, scopes, the filter with WWW-Authenticate, middleware");
}

void main();
