import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";
import { openEvents } from "../support/event-client.js";

const options = { redis: "memory", auth: testAuth, logger: silentLogger } as const;
const schema = (value: unknown): unknown => value;
const topics = (): string[] => ["news"];

async function listen(handler: RequestListener): Promise<string> {
  const server = createServer(handler);
  cleanUpInTest(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("a stream of events in an application", () => {
  for (const [name, Framework] of [["Koa", Koa] as const, ["Koa 2", Koa2] as const]) {
    it(`is no error of the application when its client leaves, on ${name}`, async () => {
      const gate = koaGate(options);
      cleanUpInTest(() => gate.close());
      const app = new Framework();
      const errors: unknown[] = [];
      app.on("error", (error) => errors.push(error));
      const channel = gate.channels.define("news", { schema, reliable: true });
      app.use(gate.guard()).use(gate.events({ channel, topics }));
      const url = await listen((req, res) => void app.callback()(req, res));
      for (let count = 0; count < 10; count += 1) {
        const client = await openEvents(url, { token: await signToken() });
        await until(() => client.lastId !== "");
        client.drop();
        await until(() => gate.connections.open === 0);
      }
      // The errors of a response come within a turn of its end.
      await new Promise((resolve) => setImmediate(resolve));
      expect(errors).to.deep.equal([]);
    });
  }

  for (const [name, framework] of [["Express", express] as const, ["Express 4", express4] as const])
    it(`is not cut to the length that middleware in front has announced, on ${name}`, async () => {
      const gate = expressGate(options);
      cleanUpInTest(() => gate.close());
      const channel = gate.channels.define("news", { schema, reliable: true });
      const app = framework();
      app.use((_req, res, next) => {
        res.setHeader("Content-Length", "5");
        next();
      });
      app.use(gate.guard(), gate.events({ channel, topics }));
      await expectWhole(await listen(app), channel);
    });

  it("is not cut to the length that middleware in front has announced, on Koa", async () => {
    const gate = koaGate(options);
    cleanUpInTest(() => gate.close());
    const channel = gate.channels.define("news", { schema, reliable: true });
    const app = new Koa();
    app.use(async (ctx, next) => {
      ctx.set("Content-Length", "5");
      await next();
    });
    app.use(gate.guard()).use(gate.events({ channel, topics }));
    await expectWhole(await listen((req, res) => void app.callback()(req, res)), channel);
  });

  async function expectWhole(
    url: string,
    channel: { publish(data: unknown, options: { topic: string }): Promise<unknown> },
  ): Promise<void> {
    const client = await openEvents(url, { token: await signToken() });
    await until(() => client.lastId !== "" || client.ended !== "no");
    await channel.publish("hello", { topic: "news" });
    await until(() => client.data.length > 0 || client.ended !== "no");
    expect(client.data).to.deep.equal(["hello"]);
  }
});
