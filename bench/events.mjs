// Suite "events": streams of server-sent events on one process, through a restart of it, and revocations by another process.
import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { fixed, grouped, table } from "./lib/format.mjs";
import { ask, cores, end, startNode } from "./lib/processes.mjs";
import { audience, algorithm, issuer, secret, signToken } from "./lib/settings.mjs";
import { quantile } from "./lib/statistics.mjs";

const perSecond = 100;
/** The topic of all clients. */
export const everybody = "everybody";
/** Clients of the crowd that connect at the same time. */
const atOnce = 200;

/** The options of all processes of the suite. */
export function eventGateOptions(redis = process.env.REDIS_URL, prefix = process.env.PREFIX) {
  return {
    ...{ redis, prefix, service: "bench", deadline: "1s" },
    connections: { maxPerUser: 1000 },
    auth: { secret, issuer, audience, algorithms: [algorithm] },
    logger: { debug: () => undefined, warn: () => undefined },
  };
}

export function ordersOf(gate) {
  return gate.channels.define("orders", { schema: (value) => value, reliable: true });
}

/** @returns {Promise<string>} Markdown. */
export async function runEvents(options) {
  return [await runStreams(options), await runCrowd(options)].join("\n\n");
}

async function runStreams({ quick, seconds, note, redis }) {
  const { portcullis } = await import("../packages/express/dist/index.js");
  const prefix = `bench:${randomBytes(6).toString("hex")}:`;
  const gate = portcullis(eventGateOptions(redis.url, prefix));
  const channel = ordersOf(gate);
  const [connections, revocations, duration] = quick ? [50, 10, 2] : [1000, 200, Math.max(10, 5 * seconds)];
  const env = { REDIS_URL: redis.url, PREFIX: prefix };
  let server = startServer(env, 0);
  const port = await ask(server, undefined, "port", 10_000);
  const before = await ask(server, "memory", "memory", 10_000);
  note(`events: ${connections} connections`);
  const clients = Array.from({ length: connections }, (_, index) => new Client(index, port));
  try {
    await all(clients, (client) => client.isOpen);
    const after = await ask(server, "memory", "memory", 10_000);

    note(`events: ${perSecond} a second, and a restart`);
    const half = (duration * perSecond) / 2;
    let sent = await publish(channel, clients, half);
    await end(server);
    server = startServer(env, port);
    const restarted = ask(server, undefined, "port", 10_000);
    sent += await publish(channel, clients, half);
    await restarted;
    await all(clients, (client) => client.received >= client.expected, 30_000).catch(() => undefined);
    const undisturbed = clients.flatMap(({ latencies }) => latencies).sort((a, b) => a - b);
    const received = clients.reduce((sum, client) => sum + client.received, 0);
    const gaps = clients.reduce((sum, client) => sum + client.gaps, 0);
    await all(clients, (client) => client.isOpen);

    note(`events: ${revocations} revocations`);
    const cuts = [];
    for (const client of clients.slice(0, revocations)) cuts.push(await revoke(gate, client));
    cuts.sort((a, b) => a - b);

    const kilobytes = (member) => fixed((after[member] - before[member]) / after.open / 1024, 1);
    const rows = [
      ["connections", grouped(after.open)],
      ["memory of the process, KiB a connection", kilobytes("rss")],
      ["its heap and buffers, KiB a connection", kilobytes("heap")],
      ["events sent", grouped(sent)],
      ["delivered", grouped(received)],
      ["lost, with a restart of the process", grouped(sent - received)],
      ["gaps reported", grouped(gaps)],
      ["from publish to client, p50, ms", fixed(quantile(undisturbed, 0.5), 2)],
      ["from publish to client, p99, ms", fixed(quantile(undisturbed, 0.99), 2)],
      ["from revocation on another process to the end of the stream, p50, ms", fixed(quantile(cuts, 0.5), 2)],
      ["from revocation on another process to the end of the stream, p99, ms", fixed(quantile(cuts, 0.99), 2)],
    ];
    return [
      `### ${connections} streams on one process, ${perSecond} events a second in total, ${duration} s`,
      table(["", "measured"], rows),
    ].join("\n\n");
  } finally {
    for (const client of clients) client.close();
    await end(server);
    await gate.close();
  }
}

/** Many clients over two processes: they connect, all receive a message, and all are cut, user by user. */
async function runCrowd({ quick, note, redis }) {
  const { portcullis } = await import("../packages/express/dist/index.js");
  const prefix = `bench:${randomBytes(6).toString("hex")}:`;
  const gate = portcullis(eventGateOptions(redis.url, prefix));
  const channel = ordersOf(gate);
  const [connections, users] = quick ? [200, 10] : [10_000, 100];
  const servers = [0, 1].map(() => startServer({ REDIS_URL: redis.url, PREFIX: prefix }, 0));
  const clients = [];
  try {
    const ports = await Promise.all(servers.map((server) => ask(server, undefined, "port", 10_000)));
    const before = await ask(servers[0], "memory", "memory", 10_000);
    note(`events: ${connections} connections over two processes`);
    const began = performance.now();
    while (clients.length < connections) {
      const some = Array.from({ length: Math.min(atOnce, connections - clients.length) }, (_, index) => {
        const number = clients.length + index;
        return new Client(number, ports[number % 2], `crowd-${Math.floor(number / 2) % users}`);
      });
      clients.push(...some);
      await all(some, (client) => client.isOpen);
    }
    const connectMs = performance.now() - began;
    const after = await ask(servers[0], "memory", "memory", 10_000);
    for (const client of clients) client.expected = 1;
    await channel.publish({ at: performance.now() }, { topic: everybody });
    await all(clients, (client) => client.received === 1);
    const latencies = clients.flatMap((client) => client.latencies).sort((a, b) => a - b);

    const cuts = [];
    for (let user = 0; user < users; user += 1) {
      const own = clients.filter(({ subject }) => subject === `crowd-${user}`);
      const revokedAt = performance.now();
      await gate.revocations.revokeSubject(`crowd-${user}`);
      await all(own, (client) => client.endedAt !== undefined);
      cuts.push(...own.map(({ endedAt }) => endedAt - revokedAt));
    }
    cuts.sort((a, b) => a - b);
    const left = await Promise.all(servers.map((server) => ask(server, "memory", "memory", 10_000)));
    const kilobytes = (member) => fixed((after[member] - before[member]) / after.open / 1024, 1);
    const rows = [
      ["connections of both processes, when all are connected", grouped(clients.length)],
      ["time to connect, s", fixed(connectMs / 1000, 1)],
      ["memory of a process, KiB a connection", kilobytes("rss")],
      ["its heap and buffers, KiB a connection", kilobytes("heap")],
      ["from publish to client, one message for all, p50, ms", fixed(quantile(latencies, 0.5), 1)],
      ["the same, p99, ms", fixed(quantile(latencies, 0.99), 1)],
      ["cut by `revokeSubject()`, p50, ms", fixed(quantile(cuts, 0.5), 1)],
      ["the same, p99, ms", fixed(quantile(cuts, 0.99), 1)],
      ["connections left", grouped(left[0].open + left[1].open)],
    ];
    return [
      `### ${grouped(connections)} streams of ${users} users over two processes`,
      table(["", "measured"], rows),
    ].join("\n\n");
  } finally {
    for (const client of clients) client.close();
    await Promise.all(servers.map((server) => end(server)));
    await gate.close();
  }
}

function startServer(env, port) {
  const options = ["--expose-gc"];
  return startNode(new URL("servers/events.mjs", import.meta.url).pathname, {
    ...{ core: cores.server, options },
    env: { ...env, PORT: String(port) },
  });
}

/** Each event is for one client. The latency of what is sent during a restart is that of the restart: it is not counted. */
async function publish(channel, clients, count) {
  const sending = [];
  for (let sent = 0; sent < count; sent += 1) {
    const client = clients[Math.floor(Math.random() * clients.length)];
    client.expected += 1;
    sending.push(channel.publish({ at: client.isOpen ? performance.now() : undefined }, { topic: client.subject }));
    await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond));
  }
  await Promise.all(sending);
  return count;
}

async function revoke(gate, client) {
  const began = performance.now();
  await gate.revocations.revoke({ jti: client.jti, expiresAt: Math.floor(Date.now() / 1000) + 3600 });
  await all([client], (one) => one.endedAt !== undefined);
  return client.endedAt - began;
}

async function all(clients, test, patienceMs = 60_000) {
  const deadline = performance.now() + patienceMs;
  while (!clients.every(test)) {
    if (performance.now() > deadline) throw new Error("the clients did not get there");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A client that connects again after its last event, as EventSource does. */
class Client {
  subject;
  jti;
  isOpen = false;
  expected = 0;
  received = 0;
  gaps = 0;
  endedAt;
  latencies = [];
  #port;
  #token;
  #lastId;
  #request;
  #isClosed = false;

  constructor(index, port, subject = `user-${index}`) {
    this.subject = subject;
    this.jti = `token-${index}-${randomBytes(6).toString("hex")}`;
    this.#token = signToken({ jti: this.jti, subject: this.subject });
    this.#port = port;
    this.#connect();
  }

  close() {
    this.#isClosed = true;
    this.#request.destroy();
  }

  #connect() {
    const headers = {
      authorization: `Bearer ${this.#token}`,
      ...(this.#lastId === undefined ? {} : { "last-event-id": this.#lastId }),
    };
    this.#request = request({ host: "127.0.0.1", port: this.#port, headers, agent: false }, (response) => {
      let rest = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => {
        const blocks = (rest + chunk).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) this.#read(block);
      });
      response.on("error", () => undefined);
    });
    this.#request.on("error", () => undefined);
    this.#request.on("close", () => this.#retry());
    this.#request.end();
  }

  #retry() {
    this.isOpen = false;
    if (!this.#isClosed && this.endedAt === undefined) setTimeout(() => this.#connect(), 100 + 100 * Math.random());
  }

  #read(block) {
    const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
    this.#lastId = field("id") ?? this.#lastId;
    const [event, data] = [field("event"), field("data")];
    // A stream says the place of its client when it is subscribed.
    if (this.#lastId !== undefined) this.isOpen = true;
    if (event === "end" && /revoked|session_ended/.test(data)) this.endedAt = performance.now();
    if (event === "gap") this.gaps += 1;
    if (data === undefined || event !== undefined) return;
    this.received += 1;
    const { at } = JSON.parse(data);
    if (at !== undefined) this.latencies.push(performance.now() - at);
  }
}
