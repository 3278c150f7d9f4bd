import { createServer, connect } from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import type { Channel } from "@portcullis/core";
import { portcullis } from "@portcullis/koa";
import type { KoaGate } from "@portcullis/koa";
import { expect } from "chai";
import Koa from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";

interface Running {
  readonly gate: KoaGate;
  readonly channel: Channel<unknown>;
  readonly session: ClientHttp2Session;
}

interface Stream {
  readonly stream: ClientHttp2Stream;
  text: string;
  ended: boolean;
}

for (const [name, Framework] of [
  ["Koa", Koa],
  ["Koa 2", Koa2],
] as const) {
  describe(`streams of events over HTTP/2 on ${name}`, () => {
    async function start(): Promise<Running> {
      const gate = portcullis({
        redis: "memory",
        auth: testAuth,
        logger: silentLogger,
        connections: { maxPerUser: 1000 },
      });
      const channel = gate.channels.define<unknown>("orders", { schema: (value) => value, reliable: true });
      const app = new Framework();
      app.silent = true;
      app.use(gate.guard());
      app.use(gate.events({ channel, topics: ({ auth }) => [auth.subject] }));
      const handle = app.callback();
      const server = createServer((req, res) => void handle(req, res));
      server.on("sessionError", () => undefined);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
      session.on("error", () => undefined);
      cleanUpInTest(async () => {
        session.destroy();
        await new Promise((resolve) => server.close(resolve));
        await gate.close();
      });
      return { gate, channel, session };
    }

    function open(session: ClientHttp2Session, token: string): Stream {
      const stream = session.request({ ":path": "/", authorization: `Bearer ${token}` });
      const opened: Stream = { stream, text: "", ended: false };
      stream.setEncoding("utf8").on("data", (chunk: string) => (opened.text += chunk));
      stream.on("end", () => (opened.ended = true)).on("error", () => undefined);
      return opened;
    }

    it("are many on one connection, and give all back when it breaks", async () => {
      const { gate, channel, session } = await start();
      const token = await signToken({ sub: "alice" });
      const streams = Array.from({ length: 50 }, () => open(session, token));
      await until(() => streams.every(({ text }) => text.includes("id: ")));
      expect(gate.connections.open).to.equal(50);
      await channel.publish({ order: 1 }, { topic: "alice" });
      await until(() => streams.every(({ text }) => text.includes('data: {"order":1}\n\n')));
      session.destroy();
      await until(() => gate.connections.open === 0);
    });

    it("end with their token, and with a reset of the client, one by one", async () => {
      const { gate, session } = await start();
      const [one, other] = [open(session, await signToken({ jti: "one" })), open(session, await signToken())];
      await until(() => [one, other].every(({ text }) => text.includes("id: ")));
      await gate.revocations.revoke({ jti: "one", expiresAt: nowSeconds() + 300 });
      await until(() => one.ended);
      expect(one.text).to.include('event: end\ndata: {"reason":"revoked"}\n\n');
      expect([other.ended, gate.connections.open]).to.deep.equal([false, 1]);
      other.stream.close();
      await until(() => gate.connections.open === 0);
    });

    it("cost each other nothing: one that is not read ends, and the next one on the connection goes on", async () => {
      const { gate, channel, session } = await start();
      const [slow, fast] = [open(session, await signToken({ sub: "slow" })), open(session, await signToken())];
      await until(() => [slow, fast].every(({ text }) => text.includes("id: ")));
      slow.stream.pause();
      const text = "x".repeat(60_000);
      for (let count = 0; count < 200 && gate.connections.open === 2; count += 1) {
        await channel.publish(text, { topic: "slow" });
        await channel.publish(count, { topic: "alice" });
        await until(() => fast.text.includes(`data: ${count}\n\n`));
      }
      expect(gate.connections.open).to.equal(1);
      slow.stream.resume();
      await until(() => slow.ended);
      expect(slow.text).to.include('{"reason":"slow"}');
    });
  });
}
