import { once } from "node:events";
import { Agent } from "node:http";
import { connect, createServer } from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { portcullis as koaGate } from "@portcullis/koa";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import Koa from "koa";
import type { RunningApp } from "../support/app.js";
import { allAdapters, nodeAdapter } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { openLatch } from "../support/latch.js";
import { silentLogger } from "../support/logger.js";

for (const adapter of [...allAdapters, nodeAdapter]) {
  describe(`a gate that drains, on ${adapter.name}`, () => {
    let app: RunningApp;
    let agent: Agent;
    let token: string;

    beforeEach(async () => {
      agent = new Agent({ keepAlive: true });
      cleanUp(() => agent.destroy());
      token = await signToken();
      app = await adapter.start({
        options: { redis: "memory", auth: testAuth, logger: silentLogger },
        use: (gate) => [gate.routes.health(), gate.guard()],
        routes: {
          "GET /me": ({ auth }) => auth?.subject ?? null,
          "GET /wrong": () => {
            throw Object.assign(new Error("refused"), { status: 409 });
          },
        },
      });
    });

    const visit = async (path: string, sent: string | undefined = token) => {
      const { status, headers } = await send(`${app.url}${path}`, { agent, ...(sent === "" ? {} : { token: sent }) });
      return [status, headers.connection];
    };

    it("ends the connection of every response: of handlers, refusals, errors and checks of its health", async () => {
      for (const [path, sent, status] of [
        ["/me", token, 200],
        ["/me", "", 401],
        ["/wrong", token, 409],
        ["/readyz", "", 200],
      ] as const)
        expect(await visit(path, sent), path).to.deep.equal([status, "keep-alive"]);
      app.gate.drain();
      for (const [path, sent, status] of [
        ["/me", token, 200],
        ["/me", "", 401],
        ["/wrong", token, 409],
        ["/readyz", "", 503],
        ["/healthz", "", 200],
      ] as const)
        expect(await visit(path, sent), path).to.deep.equal([status, "close"]);
    });

    it("lets its server close while clients send one request after the other on their connections", async () => {
      const load = startLoad(app.url, token, agent);
      await load.begun;
      app.gate.drain();
      const closed = new Promise((resolve) => app.server.close(resolve));
      // Without this the clients would go on for ever.
      expect(await Promise.race([closed.then(() => "closed"), sleep(8000, "open", { ref: false })])).to.equal("closed");
      load.stop();
      expect([...(await load.statuses)]).to.deep.equal([200]);
    });
  });
}

/** Ten clients, each with one request after the other on a connection that it keeps. */
function startLoad(url: string, token: string, agent: Agent) {
  const statuses = new Set<number>();
  const begun = openLatch();
  let answered = 0;
  let isRunning = true;

  async function visit(): Promise<void> {
    while (isRunning) {
      // The server takes no more connections.
      const answer = await send(`${url}/me`, { token, agent }).catch(() => undefined);
      if (answer === undefined) return;
      statuses.add(answer.status);
      if ((answered += 1) === 50) begun.open();
    }
  }

  const clients = Promise.all(Array.from({ length: 10 }, visit));
  return { begun: begun.wait(), statuses: clients.then(() => statuses), stop: () => (isRunning = false) };
}

describe("a gate that drains, on HTTP/2", () => {
  async function statusOf(session: ClientHttp2Session, path: string): Promise<number> {
    const stream = session.request({ ":path": path, authorization: `Bearer ${await signToken()}` });
    const [headers] = (await once(stream, "response")) as [{ ":status": number }];
    stream.resume();
    await once(stream, "close");
    return headers[":status"];
  }

  it("takes no more requests on a connection, and ends it when its responses are complete", async () => {
    const gate = koaGate({ redis: "memory", auth: testAuth, logger: silentLogger });
    const held = openLatch();
    const reached = openLatch();
    const app = new Koa();
    app.use(gate.guard());
    app.use(async (ctx) => {
      if (ctx.path === "/held") {
        reached.open();
        await held.wait();
      }
      ctx.body = "done";
    });
    const handle = app.callback();
    const server = createServer((req, res) => void handle(req, res)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    cleanUp(async () => {
      session.destroy();
      server.close();
      await gate.close();
    });

    expect(await statusOf(session, "/")).to.equal(200);
    const slow = statusOf(session, "/held");
    await reached.wait();
    gate.drain();
    const leaves = once(session, "goaway");
    const closes = once(session, "close");
    expect(await statusOf(session, "/last")).to.equal(200);
    await leaves;
    held.open();
    expect(await slow).to.equal(200);
    await closes;
    expect(session.destroyed).to.equal(true);
  });
});
