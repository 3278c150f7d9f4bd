// Socket.IO: its own middleware, and the package for it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { portcullis } from "@portcullis/express";
import { createTokenFactory } from "@portcullis/express/testing";
import { secure } from "@portcullis/socket.io";
import { Server } from "socket.io";
import { io as connect } from "socket.io-client";
import { bearer, check, listen, prefix, redis } from "../check.mjs";

const tokens = createTokenFactory({ audience: "orders-api" });
const options = { redis, prefix, auth: tokens.auth, deadline: 1000 };
const clientOptions = { transports: ["websocket"], reconnection: false, forceNew: true };

await check("io.engine.use(gate.guard()) refuses handshakes without a token, and counts every one", async () => {
  const gate = portcullis({ ...options, limits: [{ name: "hands", per: "ip", limit: 3, window: "1h" }] });
  const server = createServer();
  const io = new Server(server);
  io.engine.use(gate.guard());
  io.on("connection", (socket) => socket.emit("user", socket.request.auth.subject));
  const url = await listen(server);
  const polling = (headers = {}) => fetch(`${url}/socket.io/?EIO=4&transport=polling`, { headers });
  const refused = await polling();
  assert.deepEqual([refused.status, refused.headers.get("www-authenticate")], [401, "Bearer"]);
  const extraHeaders = bearer(await tokens.sign({ sub: "alice" }));
  const client = connect(url, { ...clientOptions, extraHeaders });
  assert.deepEqual(await once(client, "user"), ["alice"]);
  client.close();
  assert.equal((await polling(extraHeaders)).status, 200);
  assert.equal((await polling(extraHeaders)).status, 429);
  await io.close();
  await gate.close();
});

await check("secure(io, gate) verifies sockets, and ends them when their token is revoked", async () => {
  const gate = portcullis(options);
  const server = createServer();
  const io = new Server(server);
  secure(io, gate);
  io.on("connection", (socket) => socket.emit("user", socket.data.auth.subject));
  const url = await listen(server);
  const stranger = connect(url, clientOptions);
  const [error] = await once(stranger, "connect_error");
  assert.equal(error.data.code, "credentials_required");
  const token = await tokens.sign({ sub: "alice" });
  const client = connect(url, { ...clientOptions, auth: { token } });
  assert.deepEqual(await once(client, "user"), ["alice"]);
  const ended = once(client, "disconnect");
  await gate.revocations.revoke((await gate.verify(token)).auth);
  await ended;
  await io.close();
  await gate.close();
});
process.exit(0);
