// Node, Bun and Deno: both frameworks on the server of the runtime, with Redis.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createExpress } from "../lambda/express.mjs";
import { createKoa } from "../lambda/koa.mjs";
import { createTokenFactory } from "@portcullis/express/testing";
import { bearer, check, listen, prefix, redis, stop } from "../check.mjs";

const runtime = globalThis.Deno
  ? `Deno ${Deno.version.deno}`
  : process.versions.bun
    ? `Bun ${process.versions.bun}`
    : `Node ${process.version}`;
const tokens = createTokenFactory({ audience: "orders-api" });

for (const [framework, create] of [
  ["Express", createExpress],
  ["Koa", createKoa],
]) {
  const limits = [{ name: "ip", per: "ip", limit: 8, window: "1h" }];
  const { gate, app } = create({ redis, prefix: `${prefix}${framework}:`, deadline: 1000, auth: tokens.auth, limits });
  const server = createServer(framework === "Koa" ? app.callback() : app);
  const url = await listen(server);
  await check(`${runtime}, ${framework}: refuses, admits, signs out and counts`, async () => {
    const refused = await fetch(`${url}/me`);
    assert.equal(refused.status, 401);
    assert.equal(refused.headers.get("www-authenticate"), "Bearer");
    assert.equal((await refused.json()).code, "credentials_required");
    const headers = bearer(await tokens.sign({ sub: "alice" }));
    const admitted = await fetch(`${url}/me`, { headers });
    assert.equal(admitted.status, 200);
    assert.deepEqual(await admitted.json(), { subject: "alice" });
    assert.equal((await fetch(`${url}/logout`, { method: "POST", headers })).status, 204);
    assert.equal((await fetch(`${url}/me`, { headers })).status, 401);
    const other = bearer(await tokens.sign({ sub: "bob" }));
    const statuses = await Promise.all(
      [1, 2, 3, 4, 5, 6].map(async () => (await fetch(`${url}/me`, { headers: other })).status),
    );
    assert.deepEqual(statuses.toSorted(), [200, 200, 200, 200, 429, 429]);
  });
  await check(`${runtime}, ${framework}: signs in, and caches`, async () => {
    const body = JSON.stringify({ username: "carol" });
    const headers = { "content-type": "application/json" };
    for (let count = 0; count < 4; count += 1)
      assert.equal((await fetch(`${url}/login`, { method: "POST", headers, body })).status, 204);
    assert.deepEqual(await gate.cache.getOrSet({ key: "k" }, () => ({ made: 1 })), { made: 1 });
    assert.deepEqual(await gate.cache.getOrSet({ key: "k" }, () => ({ made: 2 })), { made: 1 });
  });
  await stop(server);
  await gate.close();
}
process.exit(0);
