import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createApp } from "./app.js";
import { RedisSwitch } from "./redis-switch.js";
import { loadSecret } from "./tokens.js";
import { UserStore } from "./users.js";

const production = process.env.NODE_ENV === "production";
/** With it the page can stop Redis. Nobody can in production. */
const redisSwitch = production ? undefined : new RedisSwitch();
const records = await reach(process.env.REDIS_URL);
const caches = await reach(process.env.CACHE_REDIS_URL);
// In production the gate refuses to start without Redis: logouts would hold in one process only.
const memory = production ? undefined : "memory";
const secret = loadSecret(process.env.JWT_SECRET, production);
const users = new UserStore();
const alice = await users.add("alice", "orders:read");
const admin = await users.add("admin", "orders:read admin");

/** Known when the service listens: the port may be any free one. */
let base = "";
const { app, gate } = createApp({
  redis: records !== undefined && caches !== undefined ? { security: records, cache: caches } : (records ?? memory),
  secret,
  keySecret: process.env.KEY_SECRET,
  deadlineMs: Number(process.env.DEADLINE_MS ?? 50),
  trustedProxies: Number(process.env.TRUSTED_PROXIES ?? 0),
  users,
  publicUrl: () => process.env.PUBLIC_URL ?? base,
  production,
  redisSwitch,
});
const host = process.env.HOST ?? "127.0.0.1";
const server = gate.serve(app).listen(Number(process.env.PORT ?? 3000), host);
await once(server, "listening");

// A server that listens on all addresses is reached at this one, too.
base = `http://${host === "0.0.0.0" ? "127.0.0.1" : host}:${(server.address() as AddressInfo).port}`;
const bearer = `-H "authorization: Bearer $TOKEN"`;
const credentials = JSON.stringify({ username: "alice", password: alice.password });
const login = `curl -s ${base}/login -H 'content-type: application/json' -d '${credentials}'`;
console.log(`listening on ${base}
user: alice  password: ${alice.password}
user: admin  password: ${admin.password}

Open ${base} in two browsers and sign in. Or:

${login}
TOKEN=$(${login} | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
curl -i ${base}/orders ${bearer}
curl -i ${base}/orders
curl -i ${base}/admin/stats ${bearer}
curl -i ${base}/sessions ${bearer}
curl -i -X POST ${base}/logout ${bearer}
curl -i ${base}/orders ${bearer}`);

/** The address at which the gate reaches a Redis. */
async function reach(address: string | undefined): Promise<string | undefined> {
  if (address === undefined || redisSwitch === undefined) return address;
  return await redisSwitch.relay(address);
}

let stopping = false;

/**
 * Lets requests under way finish, for a second at most; then nothing keeps the process alive. Pages connect again, to another
 * process or to the next one here.
 */
function stop(): void {
  if (stopping) return;
  stopping = true;
  gate.drain();
  server.close(() => void gate.close());
  setTimeout(() => server.closeAllConnections(), 1000).unref();
}

process.on("SIGINT", stop).on("SIGTERM", stop);
