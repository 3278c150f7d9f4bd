import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { nowSeconds, signToken, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import type { Channel } from "@portcullis/core";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { expect } from "chai";
import { EventSource } from "eventsource";
import express from "express";
import { Redis } from "ioredis";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";
import { openEvents } from "../support/event-client.js";

/** A gate with one channel, as each process of a service has it. */
interface Process {
  readonly gate: ExpressGate;
  readonly channel: Channel<unknown>;
}

describe("streams of events on a bad day", function () {
  this.timeout(30_000);
  let redis: RedisServer;

  beforeEach(async () => {
    redis = await startRedis({ config: { appendonly: "yes", appendfsync: "always" } });
    cleanUp(() => redis.stop());
  });

  function openProcess(): Process {
    const gate = portcullis({
      ...{ redis: redis.url, service: "shop", auth: testAuth, logger: silentLogger },
      deadline: 1000,
    });
    cleanUp(() => gate.close());
    const channel = gate.channels.define<unknown>("orders", { schema: (value) => value, reliable: true });
    return { gate, channel };
  }

  /** A process that serves streams, until it is ended. */
  async function serve(port = 0): Promise<Process & { url: string; port: number; end: () => Promise<void> }> {
    const { gate, channel } = openProcess();
    const app = express();
    app.use(gate.guard(), gate.events({ channel, topics: ({ auth }) => [auth.subject], retry: 100 }));
    const server = createServer(app);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const address = server.address() as AddressInfo;

    async function end(): Promise<void> {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await gate.close();
    }

    cleanUp(end);
    return { gate, channel, url: `http://127.0.0.1:${address.port}/`, port: address.port, end };
  }

  it("lose no message through restarts of their process, and bring none twice", async () => {
    let server = await serve();
    const { url, port } = server;
    const publisher = openProcess();
    const token = await signToken({ sub: "alice" });
    const source = new EventSource(url, {
      fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
    });
    cleanUp(() => source.close());
    const heard: unknown[] = [];
    const others: string[] = [];
    source.addEventListener("message", ({ data }) => void heard.push(JSON.parse(String(data))));
    for (const name of ["gap", "end"]) source.addEventListener(name, ({ data }) => void others.push(String(data)));
    await until(() => server.gate.connections.open === 1);
    let sent = 0;
    const send = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index += 1) {
        await publisher.channel.publish(sent, { topic: "alice" });
        sent += 1;
      }
    };
    for (let restart = 0; restart < 3; restart += 1) {
      await send(20);
      const [ended] = await Promise.all([server.end(), send(20)]);
      expect(ended).to.equal(undefined);
      await send(20);
      server = await serve(port);
      await send(20);
      await until(() => server.gate.connections.open === 1);
    }
    await until(() => heard.length >= sent);
    expect(heard).to.deep.equal(Array.from({ length: sent }, (_, index) => index));
    expect(others.filter((data) => !data.includes("closed"))).to.deep.equal([]);
  });

  it("stay open while Redis is down, say so once, and go on without a loss", async () => {
    const { url, gate, channel } = await serve();
    const publisher = openProcess();
    const client = await openEvents(url, { token: await signToken({ sub: "alice" }) });
    await until(() => client.lastId !== "");
    await publisher.channel.publish(1, { topic: "alice" });
    await client.has(1);
    await redis.kill();
    await client.hears("degraded");
    expect(gate.connections.open).to.equal(1);
    await redis.restart();
    await client.hears("recovered");
    await until(() =>
      publisher.channel.publish(2, { topic: "alice" }).then(
        () => true,
        () => false,
      ),
    );
    await until(() =>
      channel.publish(3, { topic: "alice" }).then(
        () => true,
        () => false,
      ),
    );
    await until(() => client.data.includes(3));
    expect(client.data.filter((value, index, all) => all.indexOf(value) === index)).to.deep.equal([1, 2, 3]);
    const states = client.events.map(({ event }) => event).filter((event) => event !== "message");
    // On a busy machine Redis may be late for once more.
    expect(states).to.deep.equal(states.map((_, index) => (index % 2 === 0 ? "degraded" : "recovered")));
    expect(states.length).to.be.within(2, 6);
    expect(client.ended).to.equal("no");
  });

  it("end on every process when a token is revoked on one, also just after Redis is back", async () => {
    const [one, other] = [await serve(), await serve()];
    const token = await signToken({ sub: "alice", jti: "stolen" });
    const clients = [await openEvents(one.url, { token }), await openEvents(other.url, { token })];
    await Promise.all(clients.map((client) => until(() => client.lastId !== "")));
    await redis.kill();
    await redis.restart();
    const expiresAt = nowSeconds() + 300;
    await until(() =>
      one.gate.revocations.revoke({ jti: "stolen", expiresAt }).then(
        () => true,
        () => false,
      ),
    );
    await Promise.all(clients.map((client) => until(() => client.ended === "whole")));
    expect(clients.map(({ reason }) => reason)).to.deep.equal(["revoked", "revoked"]);
  });

  it("stay while the clock of their process is wrong, and their clients may connect again", async () => {
    const real = Date.now;
    let ahead = 0;
    Date.now = () => real() + ahead;
    cleanUp(() => void (Date.now = real));
    const { url, channel } = await serve();
    const token = await signToken({ sub: "alice" });
    const client = await openEvents(url, { token });
    await until(() => client.lastId !== "");
    ahead = 3_600_000;
    // Longer than it takes to look at the time of every token again.
    await new Promise((resolve) => setTimeout(resolve, 1200));
    await channel.publish(1, { topic: "alice" });
    await client.has(1);
    expect([client.ended, client.reason]).to.deep.equal(["no", undefined]);
    ahead = 0;
    // The process has not taken the token for one that has ended.
    expect((await openEvents(url, { token })).status).to.equal(200);
  });

  it("begin with a gap where Redis has lost the messages of a client", async () => {
    const { url, channel } = await serve();
    const token = await signToken({ sub: "alice" });
    const first = await openEvents(url, { token });
    await until(() => first.lastId !== "");
    await channel.publish(1, { topic: "alice" });
    await first.has(1);
    first.drop();
    const operator = new Redis(redis.url);
    await operator.flushall();
    operator.disconnect();
    const second = await openEvents(url, { token, headers: { "Last-Event-ID": first.lastId } });
    await second.hears("gap");
    await channel.publish(2, { topic: "alice" });
    await second.has(1);
    expect(second.data).to.deep.equal([2]);
  });
});
