import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { signToken, startCluster, startRedis, startSentinel, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import type { TestAnswer } from "../../support/http.js";
import { send } from "../../support/http.js";
import type { ServerProcess } from "../../support/processes.js";
import { startProcess } from "../../support/processes.js";

/** Longer than the 5 s from which a pause is a standstill. */
const standstillMs = 5500;

/** No node of this Cluster fails: on a busy machine none may be taken for dead. */
const patient = { config: { "cluster-node-timeout": "15000" } };

/** A device between, such as a NAT gateway, that forgets its connections: nothing passes any more, and nobody is told. */
async function startForgetfulDevice(port: number): Promise<{ url: string; forget(): void; stop(): void }> {
  const pairs = new Set<readonly [client: Socket, upstream: Socket]>();
  const server = createServer((client) => {
    const upstream = connect({ port, host: "127.0.0.1" });
    for (const socket of [client, upstream]) socket.on("error", () => undefined);
    client.pipe(upstream).pipe(client);
    pairs.add([client, upstream]);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    forget() {
      for (const [client, upstream] of pairs) {
        client.unpipe(upstream).resume();
        upstream.unpipe(client).resume();
      }
    },
    stop() {
      for (const pair of pairs) for (const socket of pair) socket.destroy();
      server.close();
    },
  };
}

async function closeConnections(port: number): Promise<void> {
  const client = new Redis({ port, retryStrategy: () => null });
  await client.call("CLIENT", "KILL", "TYPE", "normal");
  client.disconnect();
}

describe("a process that stood still, as a serverless function does between its requests", function () {
  this.timeout(60_000);
  const stops: (() => unknown)[] = [];
  const answers = new Map<string, readonly TestAnswer[]>();

  // All of them stand still at the same time.
  before(async () => {
    const token = await signToken();
    const processes = new Map<string, ServerProcess>();
    const [redis, gone, cluster, group] = await Promise.all([
      ...([startRedis(), startRedis(), startCluster(patient), startSentinel()] as const),
    ]);
    stops.push(() => Promise.all([redis, gone, cluster, group].map((server) => server.stop())));
    const device = await startForgetfulDevice(redis.port);
    stops.push(() => device.stop());

    async function open(name: string, url: string, connectDeadline = 8000): Promise<void> {
      const limits = [{ name, per: "ip", limit: 1000, window: "1h" }] as const;
      const options = { redis: url, auth: testAuth, prefix: `${name}:`, limits, deadline: 3000, connectDeadline };
      const opened = await startProcess("Express", options);
      stops.push(() => opened.close());
      processes.set(name, opened);
      expect((await send(`${opened.url}/me`, { token })).status, name).to.equal(200);
    }

    await Promise.all([
      open("closed", redis.url),
      open("forgotten", device.url),
      open("cluster", `redis+cluster://${cluster.seeds.map(({ host, port }) => `${host}:${port}`).join(",")}`),
      open("failover", `redis+sentinel://${group.sentinels.map(({ host, port }) => `${host}:${port}`).join(",")}/main`),
      open("gone", gone.url, 10_000),
    ]);
    for (const { pid } of processes.values()) process.kill(pid, "SIGSTOP");
    // Time enough for another master.
    group.servers[0]?.pause();
    await sleep(standstillMs);
    device.forget();
    await Promise.all([redis, ...cluster.nodes].map(({ port }) => closeConnections(port)));
    await gone.stop();
    await Promise.all(
      [...processes].map(async ([name, { url, pid }]) => {
        // The requests are there before the process goes on.
        const pending = Promise.all([1, 2, 3].map(() => send(`${url}/me`, { token })));
        await sleep(50);
        process.kill(pid, "SIGCONT");
        answers.set(name, await pending);
      }),
    );
  });

  after(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  for (const [name, what] of [
    ["closed", "whose connections were closed meanwhile"],
    ["forgotten", "whose connections were forgotten by a device between"],
    ["cluster", "whose connections to a Cluster were closed meanwhile"],
    ["failover", "whose master was stopped and replaced meanwhile"],
  ] as const) {
    it(`answers its first requests as ever, ${what}`, () => {
      for (const { status, json } of answers.get(name)!)
        expect([status, (json as { subject?: string }).subject]).to.deep.equal([200, "alice"]);
      const remaining = answers
        .get(name)!
        .map(({ json }) => (json as { quotas: [{ remaining: number }] }).quotas[0].remaining);
      expect(remaining.toSorted(), "each is counted once").to.deep.equal([996, 997, 998]);
    });
  }

  it("refuses its first requests as soon as a reconnection has failed", () => {
    for (const { status, headers } of answers.get("gone")!)
      expect([status, headers["retry-after"]]).to.deep.equal([503, "1"]);
  });
});
