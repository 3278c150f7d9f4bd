// node tools/hops.mjs [--list]: the files of core that run in one warm request or call, by V8's precise coverage.
// A reader who follows a request visits so many files. Exits 1 if a target is missed; --list names the files.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { Agent, get } from "node:http";
import { Session } from "node:inspector/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT, runNode } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";

const WARM_UP_ROUNDS = 50;
/** Timers and other gates' pings may run beside a call: a file counts if it ran in each of these. */
const SAMPLES = 5;
/** The end of a response, and what a call does in the background, belong to it. */
const AFTERWARDS_MS = 20;
const core = new URL("../packages/core/dist/", import.meta.url).href;

ensureInstalled();
if ((await runNode(["node_modules/typescript/bin/tsc", "-b"])) !== 0) process.exit(1);

const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });

const { portcullis } = await import("@portcullis/express");
const { startRedis, signToken, testAuth, testIssuer, testSecret } = await import("@portcullis/testkit");
const { default: express } = await import("express");

const given = process.env.TEST_REDIS_URL?.split(" ")[0];
const redis = given === undefined ? await startRedis() : { url: given, stop: async () => undefined };
const options = { redis: redis.url, prefix: `hops:${randomUUID()}:`, service: "hops", logger: quiet() };
const gates = [];
let server;
try {
  const rows = await measureAll();
  print(rows);
  process.exitCode = rows.some(({ files, target }) => target !== undefined && files.length > target) ? 1 : 0;
} finally {
  await Promise.all(gates.map((gate) => gate.close()));
  server?.closeAllConnections();
  server?.close();
  await redis.stop();
  session.disconnect();
}

async function untilUp(gate) {
  for (let tries = 0; gate.health().store.status !== "up"; tries++) {
    if (tries === 500) throw new Error("the gate has not reached Redis within 10 s");
    await sleep(20);
  }
}

async function measureAll() {
  const gate = open({ auth: testAuth, limits: [{ name: "ip", per: "ip", limit: 1e6, window: "1h" }] });
  const issuing = { signingKey: testSecret, issuer: testIssuer, audience: "hops", maxSessions: 1000 };
  const issuer = open({ auth: undefined, tokens: issuing });
  for (const one of [gate, issuer]) await untilUp(one);
  const request = await serve(gate);
  const { cache } = gate;
  const { cache: storeCache } = open({ cache: { local: false } });
  await cache.set("hit", 1, { ttl: "1h" });
  const first = await issuer.tokens.issue({ subject: "refreshing" });
  let refreshToken = first.refreshToken;
  let misses = 0;
  return [
    { call: "guard() of Express on Redis, known token", target: 28, files: await measure(request) },
    {
      call: "getOrSet, hit in process",
      target: 18,
      files: await measure(() => cache.getOrSet({ key: "hit", ttl: "1h" }, () => 2)),
    },
    {
      call: "getOrSet, hit in Redis",
      target: 18,
      files: await measure(() => storeCache.getOrSet({ key: "hit", ttl: "1h" }, () => 2)),
    },
    {
      call: "getOrSet, miss across processes",
      files: await measure(() => cache.getOrSet({ key: `miss ${(misses += 1)}`, ttl: "1h" }, () => 2)),
    },
    { call: "tokens.issue (sign-in)", files: await measure(() => issuer.tokens.issue({ subject: "alice" })) },
    {
      call: "tokens.refresh",
      files: await measure(async () => ({ refreshToken } = await issuer.tokens.refresh(refreshToken))),
    },
    {
      call: "sessions.revokeAll",
      files: await measure(
        () => issuer.sessions.revokeAll("bob"),
        () => issuer.tokens.issue({ subject: "bob" }),
      ),
    },
  ];
}

function open(more) {
  const gate = portcullis({ ...options, ...more });
  gates.push(gate);
  return gate;
}

/** Serves the gate, and returns a request with a token that the gate will know. */
async function serve(gate) {
  const app = express();
  app.use(gate.guard());
  app.get("/", (_req, res) => void res.json({}));
  server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const agent = new Agent({ keepAlive: true });
  const authorization = `Bearer ${await signToken({ sub: "alice" })}`;
  return async function request() {
    const [answer] = await once(get({ port: server.address().port, agent, headers: { authorization } }), "response");
    if (answer.statusCode !== 200) throw new Error(`the gate answered ${answer.statusCode}`);
    await once(answer.resume(), "end");
  };
}

/** The files of core that run in a call which has run before. */
async function measure(call, prepare = () => undefined) {
  for (let round = 0; round < WARM_UP_ROUNDS; round += 1) {
    await prepare();
    await call();
  }
  let common;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    await prepare();
    await sleep(AFTERWARDS_MS);
    await takeFiles();
    await call();
    await sleep(AFTERWARDS_MS);
    const files = new Set(await takeFiles());
    common = common === undefined ? files : new Set([...common].filter((file) => files.has(file)));
  }
  return [...common].sort();
}

/** Reads the counts of V8, which begin again at 0. */
async function takeFiles() {
  const { result } = await session.post("Profiler.takePreciseCoverage");
  return result
    .filter(({ url, functions }) => url.startsWith(core) && functions.some(({ ranges }) => ranges[0].count > 0))
    .map(({ url }) => url.slice(core.length));
}

function print(rows) {
  console.log(`Files of ${core.slice(new URL(`file://${ROOT}`).href.length)} in one warm call:`);
  for (const { call, target, files } of rows) {
    const goal = target === undefined ? "" : ` (target ${target}${files.length > target ? ", missed" : ""})`;
    console.log(`${String(files.length).padStart(4)}  ${call}${goal}`);
    if (process.argv.includes("--list")) for (const file of files) console.log(`        ${file}`);
  }
}

function quiet() {
  const none = () => undefined;
  return { debug: none, info: none, warn: none, error: none };
}
