// What the JavaScript consumers share: one request without a token, one with.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";

export const options = {
  redis: "memory",
  auth: { secret: "consumer-secret-".padEnd(64, "0123456789"), algorithms: ["HS256"], audience: "consumer" },
  limits: [{ name: "ip", per: "ip", limit: 10, window: "1m" }],
};

/** Sends both requests to a server that answers `{ subject, remaining }`, and ends it. */
export async function drive(server, gate) {
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}/`;
  const refused = await fetch(url);
  assert.equal(refused.status, 401);
  assert.equal(refused.headers.get("content-type"), "application/problem+json");
  assert.equal((await refused.json()).code, "credentials_required");
  const passed = await fetch(url, { headers: { authorization: `Bearer ${sign({ sub: "alice" })}` } });
  assert.equal(passed.status, 200);
  assert.deepEqual(await passed.json(), { subject: "alice", remaining: 8 });
  server.close();
  server.closeAllConnections();
  await gate.close();
}

function sign(claims) {
  const now = Math.floor(Date.now() / 1000);
  const parts = [{ alg: "HS256" }, { aud: options.auth.audience, iat: now, exp: now + 60, ...claims }];
  const input = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${input}.${createHmac("sha256", options.auth.secret).update(input).digest("base64url")}`;
}
