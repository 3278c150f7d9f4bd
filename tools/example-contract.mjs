// What every example application promises, checked from outside.
import assert from "node:assert/strict";

const PROBLEM = "application/problem+json";

/**
 * Drives a running example through its whole contract.
 *
 * @param {string} base URL it listens on.
 * @param {{ alice: string, admin: string }} passwords As it printed them.
 * @param {(token: string) => Promise<void>} [afterLogout] A further check, given the token that was logged out.
 * @throws {assert.AssertionError} naming the request that was answered otherwise.
 */
export async function checkExample(base, passwords, afterLogout = async () => {}) {
  const health = await request("GET /healthz without token", 200);
  assert.equal(typeof health.body, "object", "GET /healthz answers a JSON object");

  const wrong = { username: "alice", password: `${passwords.alice}-not` };
  await request("POST /login with a wrong password", 401, { json: wrong });
  const alice = await logIn("alice");
  const admin = await logIn("admin");

  await request("GET /orders without token", 401, { type: PROBLEM });
  await request("GET /orders with a token nobody signed", 401, { type: PROBLEM, token: tamper(alice) });
  const { body: orders } = await request("GET /orders as alice", 200, { token: alice });
  assert.ok(Array.isArray(orders) && orders.length > 0, "GET /orders answers a filled array");

  const path = `GET /orders/${orders[0].id}`;
  const first = await request(path, 200, { token: alice });
  const again = await request(path, 200, { token: alice });
  assert.deepEqual(again.body, first.body, `${path} answers the same twice`);

  await request("GET /admin/stats without token", 401, { type: PROBLEM });
  await request("GET /admin/stats as alice", 403, { type: PROBLEM, token: alice });
  await request("GET /admin/stats as admin", 200, { token: admin });

  await request("POST /logout without token", 401, { type: PROBLEM });
  await request("POST /logout as alice", 204, { token: alice });
  await request("GET /orders after logout", 401, { type: PROBLEM, token: alice });
  await request("GET /orders as admin, who is still logged in", 200, { token: admin });
  await afterLogout(alice);

  async function logIn(username) {
    const json = { username, password: passwords[username] };
    const { body } = await request(`POST /login as ${username}`, 200, { json });
    assert.equal(body.token_type, "Bearer");
    assert.ok(Number.isInteger(body.expires_in) && body.expires_in > 0, `expires_in is ${body.expires_in}`);
    assert.match(body.access_token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
    return body.access_token;
  }

  async function request(what, status, { json, token, type = "application/json" } = {}) {
    const [method, path] = what.split(" ");
    const headers = {
      ...(json && { "content-type": "application/json" }),
      ...(token && { authorization: `Bearer ${token}` }),
    };
    const body = json && JSON.stringify(json);
    const response = await fetch(base + path, { method, headers, body, signal: AbortSignal.timeout(5000) });
    const text = await response.text();
    assert.equal(response.status, status, `${what}: expected ${status}, got ${response.status} ${text}`);
    if (status === 204) return { body: undefined };
    const received = response.headers.get("content-type") ?? "";
    // A login may refuse in the words of OAuth or in a problem document.
    const accepted = path === "/login" && status === 401 ? ["application/json", PROBLEM] : [type];
    assert.ok(accepted.includes(received.split(";")[0].trim()), `${what}: content type is "${received}"`);
    const answer = JSON.parse(text);
    if (received.startsWith(PROBLEM)) assert.equal(answer.status, status, `${what}: status in the problem document`);
    return { body: answer };
  }
}

function tamper(token) {
  const [header, payload, signature] = token.split(".");
  return [header, payload, (signature[0] === "A" ? "B" : "A") + signature.slice(1)].join(".");
}
