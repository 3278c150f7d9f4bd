import { makeCertificates, startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { isRejected } from "../support/rejection.js";

describe("a proxy for tests", function () {
  this.timeout(30_000);
  let server: RedisServer;
  let proxy: Proxy;
  let client: Redis;
  let direct: Redis;

  beforeEach(async () => {
    server = await startRedis();
    proxy = await startProxy(server);
    client = new Redis(proxy.url, {
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      retryStrategy: () => 20,
    });
    client.on("error", () => undefined);
    direct = new Redis(server.url);
  });
  afterEach(async () => {
    client.disconnect();
    direct.disconnect();
    await proxy.close();
    await server.stop();
  });

  it("passes bytes, and counts its connections", async () => {
    expect(await client.set("a", "1")).to.equal("OK");
    expect(proxy.connections).to.equal(1);
  });

  it("loses the reply of one command that has run", async () => {
    await client.ping();
    proxy.cutAfter("counter");
    const failed = await isRejected(client.incr("counter"));
    expect(failed).to.equal(true);
    expect(await direct.get("counter")).to.equal("1");
    await new Promise((resolve) => client.once("ready", resolve));
    expect(await client.incr("counter")).to.equal(2);
  });

  it("drops replies, delays them, freezes, and refuses", async () => {
    await client.ping();
    proxy.mode = "drop-replies";
    void client.set("a", "1").catch(() => undefined);
    while ((await direct.get("a")) !== "1") await new Promise((resolve) => setTimeout(resolve, 10));
    proxy.mode = "pass";
    proxy.freeze();
    void client.set("a", "2").catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await direct.get("a")).to.equal("1");
    proxy.thaw();
    while ((await direct.get("a")) !== "2") await new Promise((resolve) => setTimeout(resolve, 10));
    proxy.mode = "refuse";
    proxy.reset();
    await new Promise((resolve) => client.once("close", resolve));
    proxy.mode = "pass";
    await new Promise((resolve) => client.once("ready", resolve));
    proxy.delayMs = 100;
    const start = performance.now();
    await client.ping();
    expect(performance.now() - start).to.be.at.least(95);
  });

  it("keeps the order of replies, however the delay changes while the process is busy", async () => {
    const server = await startRedis();
    const proxy = await startProxy(server);
    const client = new Redis(proxy.url);
    try {
      const answers: Promise<string>[] = [];
      for (let index = 0; index < 300; index += 1) {
        proxy.delayMs = index % 3 === 0 ? 5 : 0;
        answers.push(client.echo(String(index)));
        await new Promise((resolve) => setTimeout(resolve, 1));
        const until = performance.now() + (index % 4) * 2;
        while (performance.now() < until);
      }
      expect(await Promise.all(answers)).to.deep.equal(answers.map((_, index) => String(index)));
    } finally {
      client.disconnect();
      await proxy.close();
      await server.stop();
    }
  });
});

describe("certificates for tests", function () {
  this.timeout(30_000);

  it("let a client and a server on loopback authenticate each other, and refuse others", async () => {
    const certificates = makeCertificates();
    const server = await startRedis({ tls: certificates });
    const options = { host: server.host, port: server.tlsPort ?? 0, lazyConnect: true, retryStrategy: () => null };
    const known = new Redis({ ...options, tls: { ca: certificates.ca, ...certificates.client } });
    const strangers = [
      new Redis({ ...options, tls: { ca: certificates.ca } }),
      new Redis({ ...options, tls: { ...certificates.client } }),
      new Redis({ ...options, tls: { ca: makeCertificates().ca, ...certificates.client } }),
    ];
    try {
      await known.connect();
      expect(await known.ping()).to.equal("PONG");
      for (const stranger of strangers) {
        stranger.on("error", () => undefined);
        const rejected = await isRejected(stranger.connect());
        expect(rejected).to.equal(true);
      }
    } finally {
      for (const client of [known, ...strangers]) client.disconnect();
      await server.stop();
    }
  });
});
