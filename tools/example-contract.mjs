// What every example application promises, checked from outside.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const PROBLEM = "application/problem+json";

/**
 * Drives a running example through its whole contract.
 *
 * @param {string} base URL it listens on.
 * @param {{ alice: string, admin: string }} passwords As it printed them.
 * @param {() => string} readOutput What it has printed until now.
 * @param {(token: string) => Promise<void>} [afterLogout] A further check, given the token that was logged out.
 * @throws {assert.AssertionError} naming the request that was answered otherwise.
 */
export async function checkExample(base, passwords, readOutput, afterLogout = async () => {}) {
  // It listens at once, also while its Redis is not there yet.
  await becomeHealthy();
  const health = await request("GET /healthz without token", 200);
  assert.deepEqual(health.body, { status: "up" }, "GET /healthz says the status alone");

  const wrong = { username: "alice", password: `${passwords.alice}-not` };
  await request("POST /login with a wrong password", 401, { json: wrong });
  await request("POST /login without a name", 400, { json: { password: "x" }, type: PROBLEM });
  const alice = await logIn("alice");
  let admin = await logIn("admin");

  await request("GET /orders without token", 401, { type: PROBLEM });
  await request("GET /orders with a token nobody signed", 401, { type: PROBLEM, token: tamper(alice) });
  const { body: orders } = await request("GET /orders as alice", 200, { token: alice });
  assert.ok(Array.isArray(orders) && orders.length > 0, "GET /orders answers a filled array");

  const path = `GET /orders/${orders[0].id}`;
  const first = await request(path, 200, { token: alice });
  const again = await request(path, 200, { token: alice });
  assert.deepEqual(again.body, first.body, `${path} answers the same twice`);

  await checkOrders(orders.length);

  await request("GET /admin/stats without token", 401, { type: PROBLEM });
  await request("GET /admin/stats as alice", 403, { type: PROBLEM, token: alice });
  await request("GET /admin/stats as admin", 200, { token: admin });

  const ready = await request("GET /readyz without token", 200);
  assert.deepEqual(Object.keys(ready.body), ["status"], "GET /readyz says the status alone");

  await checkPage();
  await checkRefresh();
  await checkSessions();
  await checkEmail();
  await checkStream();
  await checkThrottle();

  await request("POST /logout without token", 401, { type: PROBLEM });
  await request("POST /logout as alice", 204, { token: alice });
  await request("GET /orders after logout", 401, { type: PROBLEM, token: alice });
  await request("GET /orders as admin, who is still logged in", 200, { token: admin });
  await afterLogout(alice);
  await checkEverywhere();

  async function becomeHealthy() {
    const deadline = Date.now() + 5000;
    while (Date.now() < deadline) {
      if ((await fetch(`${base}/healthz`)).ok) return;
      await sleep(20);
    }
  }

  async function checkPage() {
    for (const path of [
      "/",
      "/app.css",
      "/app.js",
      "/answers.js",
      "/lists.js",
      "/words.js",
      "/confirm",
      "/confirm.js",
    ]) {
      const response = await fetch(base + path, { signal: AbortSignal.timeout(5000) });
      assert.equal(response.status, 200, `GET ${path}`);
      assert.match(response.headers.get("content-security-policy"), /^default-src 'none'; script-src 'self'; /);
      assert.ok((await response.text()).length > 1000, `GET ${path} is a file of the page`);
    }
    const icon = await fetch(`${base}/favicon.svg`, { signal: AbortSignal.timeout(5000) });
    assert.equal(icon.headers.get("content-type"), "image/svg+xml; charset=utf-8");
    const visit = await request("POST /auth/session without a cookie", 200);
    assert.deepEqual(visit.body, { signedIn: false }, "it is no error that nobody is signed in");
  }

  async function checkRefresh() {
    const { refresh_token: token } = await signIn("alice");
    const { body } = await request("POST /refresh", 200, { json: { refresh_token: token } });
    assert.notEqual(body.refresh_token, token);
    await request("GET /orders with the new token", 200, { token: body.access_token });
    const { body: refused } = await request("POST /refresh with nonsense", 400, {
      json: { refresh_token: "nonsense" },
    });
    assert.equal(refused.error, "invalid_grant");
    await request("POST /auth/refresh without a cookie", 400);
    await request("POST /logout with the new token", 204, { token: body.access_token });
    await request("POST /refresh after logout", 400, { json: { refresh_token: body.refresh_token } });
  }

  async function checkSessions() {
    const [one, two, three] = [await logIn("admin"), await logIn("admin"), await logIn("admin")];
    const { body } = await request("GET /sessions as admin", 200, { token: one });
    assert.equal(body.subject, "admin");
    assert.ok(body.sessions.length >= 4 && body.sessions.some(({ id }) => id === body.current));
    const sid = JSON.parse(Buffer.from(two.split(".")[1], "base64url").toString()).sid;
    await request(`DELETE /sessions/${sid} as alice`, 404, { token: alice, type: PROBLEM });
    await request(`DELETE /sessions/${sid} as admin`, 204, { token: one });
    await request("GET /orders with the session that was ended", 401, { token: two, type: PROBLEM });
    await request("DELETE /sessions as admin", 200, { token: one });
    await request("GET /orders with one of the others", 401, { token: three, type: PROBLEM });
    await request("GET /orders with the one that is left", 200, { token: one });
    admin = one;
  }

  async function checkEmail() {
    const none = await request("GET /email as alice", 200, { token: alice });
    assert.deepEqual(none.body, { email: null });
    await request("POST /email without a token", 401, { json: { email: "a@example.org" }, type: PROBLEM });
    for (const email of [undefined, "no address", "a@example.org\r\nBcc: b@example.org", ["a@example.org"]])
      await request("POST /email of what is no address", 400, { json: { email }, token: alice, type: PROBLEM });
    const old = await mailTo("old@example.org");
    const link = await mailTo("alice@example.org");
    assert.equal(link.origin + link.pathname, `${base}/confirm`);
    assert.equal((await fetch(link, { signal: AbortSignal.timeout(5000) })).status, 200, "the link opens a page");
    const confirm = "POST /auth/confirm";
    const [json, ended] = [link, old].map(({ hash }) => ({ token: hash.slice(1) }));
    await request(`${confirm} of an earlier mail`, 410, { json: ended, type: PROBLEM });
    for (const wrong of [{}, { token: 1 }, { token: "x" }, { token: "x".repeat(44) }])
      await request(`${confirm} of what is no token`, 410, { json: wrong, type: PROBLEM });
    assert.deepEqual((await request(confirm, 200, { json })).body, { email: "alice@example.org" });
    await request(`${confirm} once more`, 410, { json, type: PROBLEM });
    const found = await request("GET /email as alice, confirmed", 200, { token: alice });
    assert.deepEqual(found.body, { email: "alice@example.org" });
    await checkConfirmLimit();
  }

  /** Whoever has no token of a mail cannot try as many as they like. */
  async function checkConfirmLimit() {
    const options = { method: "POST", signal: AbortSignal.timeout(5000) };
    let answered = 0;
    for (let status; status !== 429; answered++) {
      const response = await fetch(`${base}/auth/confirm`, options);
      ({ status } = response);
      await response.arrayBuffer();
      assert.ok(status === 410 || status === 429, `POST /auth/confirm without a token: ${status}`);
      assert.ok(answered < 30, "POST /auth/confirm has a limit for each IP address");
    }
  }

  /** Asks for a mail to this address, and returns the link in it. */
  async function mailTo(email) {
    await request("POST /email as alice", 202, { json: { email }, token: alice });
    const deadline = Date.now() + 5000;
    while (Date.now() < deadline) {
      const link = new RegExp(`^mail to ${email}\\n.*: (\\S+)$`, "m").exec(readOutput())?.[1];
      if (link !== undefined) return new URL(link);
      await sleep(20);
    }
    throw new assert.AssertionError({ message: `no mail to ${email} was printed` });
  }

  async function checkOrders(before) {
    const order = { json: { item: "rope" }, token: alice };
    await request("POST /orders without a key", 400, { ...order, type: PROBLEM });
    const headers = { "idempotency-key": `"${randomUUID()}"` };
    const clicks = await Promise.all(
      [1, 2].map((click) => request(`POST /orders, click ${click}`, 201, { ...order, headers })),
    );
    assert.deepEqual(clicks[1].body, clicks[0].body, "both clicks get the same order");
    await request("POST /orders of another item with this key", 422, {
      ...order,
      json: { item: "lantern" },
      headers,
      type: PROBLEM,
    });
    const { body } = await request("GET /orders after two clicks", 200, { token: alice });
    assert.equal(body.length, before + 1, "two clicks make one order");
  }

  async function checkStream() {
    const headers = { authorization: `Bearer ${alice}` };
    const head = await fetch(`${base}/events`, { method: "HEAD", headers, signal: AbortSignal.timeout(5000) });
    assert.deepEqual([head.status, await head.text()], [200, ""], "HEAD /events ends");
    const [token, other] = [await logIn("alice"), await logIn("admin")];
    const seen = await request("GET /orders before a stream", 200, { token });
    const after = seen.headers.get("last-event-id");
    assert.ok(after, "GET /orders says after which event a stream goes on");
    const [stream, others] = await Promise.all([openStream(token, after), openStream(other, after)]);
    const idempotencyKey = { "idempotency-key": `"${randomUUID()}"` };
    const order = { json: { item: "lantern" }, token: alice, headers: idempotencyKey };
    const placed = await request("POST /orders while a stream is open", 201, order);
    assert.ok(await stream.includes(`event: order\ndata: ${JSON.stringify(placed.body)}\n`), "it sends the order");
    await logIn("alice");
    assert.ok(await stream.includes("event: sessions\ndata: null\n"), "it tells of a sign-in");
    await request("POST /logout of the session of a stream", 204, { token });
    assert.ok(await stream.includes("event: end\n"), "it ends with its session");
    await request("POST /logout of another user", 204, { token: other });
    assert.ok(await others.includes("event: end\n"), "that of another user ends, too");
    assert.ok(!(await others.includes("event: order\n")), "it has no orders of others");
  }

  async function openStream(token, after) {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${base}/events?lastEventId=${after}`, {
      headers,
      signal: AbortSignal.timeout(10_000),
    });
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let received = "";
    return {
      /** Reads until the text has come, or the stream has ended. */
      async includes(text) {
        while (!received.includes(text)) {
          const { done, value } = await reader.read();
          if (done) return false;
          received += value;
        }
        return true;
      },
    };
  }

  async function checkEverywhere() {
    const [one, two] = [await logIn("alice"), await logIn("alice")];
    await request("POST /logout/everywhere as alice", 204, { token: one });
    for (const token of [one, two]) await request("GET /orders after it", 401, { token, type: PROBLEM });
    await request("GET /orders as admin, whose sessions go on", 200, { token: admin });
  }

  async function checkThrottle() {
    const json = { username: "mallory", password: "guess" };
    for (let attempt = 1; attempt <= 5; attempt++)
      await request(`POST /login as nobody, attempt ${attempt}`, 401, { json });
    const { body } = await request("POST /login once more", 429, { json, type: PROBLEM });
    assert.equal(body.code, "attempts_exceeded");
  }

  async function logIn(username) {
    return (await signIn(username)).access_token;
  }

  async function signIn(username) {
    const json = { username, password: passwords[username] };
    const { body } = await request(`POST /login as ${username}`, 200, { json });
    assert.equal(body.token_type, "Bearer");
    assert.ok(Number.isInteger(body.expires_in) && body.expires_in > 0, `expires_in is ${body.expires_in}`);
    assert.match(body.access_token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
    return body;
  }

  async function request(what, status, { json, token, headers: more, type = "application/json" } = {}) {
    const [method, path] = what.split(/[ ,]/);
    const headers = {
      ...(json && { "content-type": "application/json" }),
      ...(token && { authorization: `Bearer ${token}` }),
      ...more,
    };
    const body = json && JSON.stringify(json);
    const response = await fetch(base + path, { method, headers, body, signal: AbortSignal.timeout(5000) });
    const text = await response.text();
    assert.equal(response.status, status, `${what}: expected ${status}, got ${response.status} ${text}`);
    if (status === 202 || status === 204) return { body: undefined, headers: response.headers };
    const received = response.headers.get("content-type") ?? "";
    // A login may refuse in the words of OAuth or in a problem document.
    const accepted = path === "/login" && status === 401 ? ["application/json", PROBLEM] : [type];
    assert.ok(accepted.includes(received.split(";")[0].trim()), `${what}: content type is "${received}"`);
    const answer = JSON.parse(text);
    if (received.startsWith(PROBLEM)) assert.equal(answer.status, status, `${what}: status in the problem document`);
    return { body: answer, headers: response.headers };
  }
}

/**
 * Checks that Redis can be stopped in development, and that nothing of it is left in production.
 *
 * @param {string} base URL that the example listens on.
 * @param {boolean} production
 */
export async function checkDevelopment(base, production) {
  const page = await (await fetch(base)).text();
  const state = await fetch(`${base}/development/redis`);
  const script = await fetch(`${base}/development.js`);
  // Without a token, all that does not exist is 401.
  const expected = production ? [401, 401, false] : [200, 200, true];
  assert.deepEqual(
    [state.status, script.status, /development|Stop Redis/.test(page)],
    expected,
    "what is for development",
  );
  await Promise.all([state, script].map((response) => response.arrayBuffer()));
}

function tamper(token) {
  const [header, payload, signature] = token.split(".");
  return [header, payload, (signature[0] === "A" ? "B" : "A") + signature.slice(1)].join(".");
}
