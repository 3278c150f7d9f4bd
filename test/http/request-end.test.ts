import { Agent } from "node:http";
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { expect } from "chai";
import type { AnyMiddleware, RunningApp } from "../support/app.js";
import { describeOnEveryFramework } from "../support/every-gate.js";
import { send } from "../support/http.js";
import { openLatch } from "../support/latch.js";
import { exchangeRaw, statusOf } from "../support/raw.js";
import { until } from "../support/until.js";

/** With a wait for the handler that no test waits for. */
const slots = { name: "slots", per: "ip", limit: 100, algorithm: "concurrency", releaseAfter: "1m" } as const;

const get = (path = "/", fields = ""): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

function dial({ url }: RunningApp, text: string): Socket {
  const socket = connect(Number(new URL(url).port), "127.0.0.1").on("error", () => undefined);
  socket.resume().write(text);
  return socket;
}

const taken = async ({ gate }: RunningApp, policy = "slots"): Promise<number> =>
  (await gate.quotas.peek(policy, "127.0.0.1")).consumed;

/** A handler that does as it likes with its response, and ends when its promise settles. */
function handler(handle: (res: ServerResponse) => unknown): AnyMiddleware {
  type Next = (error?: unknown) => void;
  return (async (first: { res: ServerResponse; respond?: boolean }, second: ServerResponse, next?: Next) => {
    if (next !== undefined) return Promise.resolve(handle(second)).catch(next);
    first.respond = false;
    first.res.statusCode = 200;
    await handle(first.res);
  }) as unknown as AnyMiddleware;
}

/** Counts the responses that are closed. */
function countClosed(): { count: number; watch: (res: ServerResponse) => void } {
  const closed = { count: 0, watch: (res: ServerResponse) => void res.once("close", () => (closed.count += 1)) };
  return closed;
}

describeOnEveryFramework("a resource that is held for a request", (start) => {
  it("is given back for all requests of a pipelined connection that drops, without a warning", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on("warning", note);
    const latch = openLatch();
    const answer = handler(async (res) => {
      await latch.wait();
      res.end("late");
    });
    const app = await start({}, { use: (gate) => [gate.limit(slots), answer] });
    const socket = dial(app, get().repeat(80));
    await latch.waiting(80);
    expect(await taken(app)).to.equal(80);
    socket.destroy();
    latch.open();
    await until(async () => (await taken(app)) === 0);
    process.off("warning", note);
    expect(warnings).to.deep.equal([]);
  });

  it("is never the semaphore of a login that waits behind another response, or whose connection dropped", async () => {
    const latch = openLatch();
    let answered = 0;
    const app = await start(
      {},
      {
        use: (gate) => [gate.throttleLogin({ account: ({ headers }) => headers["x-account"], parallel: 2 })],
        routes: {
          "GET /hold": latch.wait,
          "GET /login": () => {
            answered += 1;
            throw Object.assign(new Error("wrong"), { status: 401 });
          },
        },
      },
    );
    const accounts = ["anna", "bert", "carl"].map((name) => get("/login", `X-Account: ${name}\r\n`)).join("");
    const socket = dial(app, get("/hold", "X-Account: hold\r\n") + accounts);
    await latch.waiting(1);
    await until(() => answered === 3);
    socket.destroy();
    latch.open();
    const others = ["dora", "emil"].map(async (name) => send(`${app.url}/login`, { headers: { "x-account": name } }));
    expect((await Promise.all(others)).map(({ status }) => status)).to.deep.equal([401, 401]);
  });

  it("bounds the handlers that run, although their clients leave", async () => {
    const latch = openLatch();
    const closed = countClosed();
    const answer = handler(async (res) => {
      closed.watch(res);
      await latch.wait();
      res.end("late");
    });
    const app = await start({}, { use: (gate) => [gate.limit({ ...slots, limit: 3 }), answer] });
    for (let request = 1; request <= 3; request += 1) {
      const socket = dial(app, get());
      await latch.waiting(request);
      socket.destroy();
      await until(() => closed.count === request);
    }
    for (let request = 0; request < 10; request += 1) expect((await send(app.url)).status).to.equal(429);
    expect(latch.held()).to.equal(3);
    latch.open();
    await until(async () => (await taken(app)) === 0);
    expect((await send(app.url)).status).to.equal(200);
  });

  it("counts its real cost when the handler has ended, although its client left", async () => {
    const latch = openLatch();
    const closed = countClosed();
    const statuses: number[] = [];
    let cost = 2;
    const answer = handler(async (res) => {
      closed.watch(res);
      await latch.wait();
      cost = 7;
      res.end("late");
    });
    const terms = { name: "cost", per: "ip", limit: 100, window: "1h", cost: 2, releaseAfter: "1h" } as const;
    const settle = (_request: object, _facts: object, status: number): number => {
      statuses.push(status);
      return cost;
    };
    const app = await start({}, { use: (gate) => [gate.limit({ ...terms, settle }), answer] });
    const socket = dial(app, get());
    await latch.waiting(1);
    socket.destroy();
    await until(() => closed.count === 1);
    expect([await taken(app, "cost"), statuses]).to.deep.equal([2, []]);
    latch.open();
    await until(async () => (await taken(app, "cost")) === 7);
    expect(statuses).to.deep.equal([0]);
  });

  it("waits for a handler that never ends no longer than releaseAfter", async () => {
    const latch = openLatch();
    const app = await start({}, { use: (gate) => [gate.limit({ ...slots, releaseAfter: 20 }), handler(latch.wait)] });
    const socket = dial(app, get());
    await latch.waiting(1);
    expect(await taken(app)).to.equal(1);
    socket.destroy();
    await until(async () => (await taken(app)) === 0);
  });

  it("stays with a stream for as long as that is open", async () => {
    const latch = openLatch();
    const stream = handler(async (res) => {
      await latch.wait();
      res.writeHead(200, { "content-type": "text/event-stream" }).write("data: x\n\n");
    });
    const app = await start({}, { use: (gate) => [gate.limit({ ...slots, releaseAfter: 1 }), stream] });
    const socket = dial(app, get());
    latch.open();
    await new Promise((resolve) => socket.once("data", resolve));
    for (let time = 0; time < 5; time += 1) expect(await taken(app)).to.equal(1);
    socket.destroy();
    await until(async () => (await taken(app)) === 0);
  });

  it("is given back however the response ends", async () => {
    const ways: Readonly<Record<string, readonly [request: string, (res: ServerResponse) => unknown]>> = {
      "a HEAD request": [get().replace("GET", "HEAD"), (res) => res.end("x")],
      "Connection: close": [get("/", "Connection: close\r\n"), (res) => res.end("x")],
      "HTTP/1.0": [get().replace("1.1", "1.0"), (res) => res.end("x")],
      "an upgrade that nobody makes": [
        get("/", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        (res) => res.writeHead(426).end(),
      ],
      "an upload that is not read": [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        (res) => res.writeHead(413, { connection: "close" }).end(),
      ],
      "ended twice": [get(), (res) => res.end("x").end()],
      "destroyed by its handler": [get(), (res) => void res.destroy()],
      "destroyed in the middle": [get(), (res) => (res.write("x"), res.destroy())],
      "its connection destroyed when it was written": [get(), (res) => (res.end("x"), res.req.socket.destroy())],
    };
    let act: (res: ServerResponse) => unknown = () => undefined;
    const closed = countClosed();
    const answer = handler((res) => {
      closed.watch(res);
      act(res);
    });
    const app = await start({}, { use: (gate) => [gate.limit(slots), answer] });
    for (const [way, [text, respond]] of Object.entries(ways)) {
      const before = closed.count;
      act = respond;
      const socket = dial(app, text);
      await until(() => closed.count > before);
      await until(async () => (await taken(app)) === 0).catch(() => expect.fail(`held after ${way}`));
      socket.destroy();
    }
  });

  it("is given back when the handler ends after its client has left, however that left", async () => {
    const ways: Readonly<Record<string, readonly [request: string, leave: (socket: Socket) => unknown]>> = {
      "a connection that is destroyed": [get(), (socket) => socket.destroy()],
      "a connection that is reset": [get(), (socket) => socket.resetAndDestroy()],
      "a connection that is half closed": [get(), (socket) => socket.end()],
      "an upload that breaks off": [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        (socket) => socket.destroy(),
      ],
    };
    const handlers: Readonly<Record<string, (res: ServerResponse) => unknown>> = {
      "ends it": (res) => res.end("late"),
      "ends it twice": (res) => res.end("late").end(),
      "writes a head": (res) => res.writeHead(500).end(),
      "destroys it": (res) => res.destroy(),
      throws: () => Promise.reject(new Error("a failure of the handler")),
    };
    let latch = openLatch();
    let act: (res: ServerResponse) => unknown = () => undefined;
    const closed = countClosed();
    const answer = handler(async (res) => {
      closed.watch(res);
      await latch.wait();
      return act(res);
    });
    const app = await start({}, { use: (gate) => [gate.limit(slots), answer] });
    for (const [way, [text, leave]] of Object.entries(ways)) {
      for (const [what, respond] of Object.entries(handlers)) {
        const before = closed.count;
        [latch, act] = [openLatch(), respond];
        const socket = dial(app, text);
        await latch.waiting(1);
        leave(socket);
        await until(() => closed.count > before);
        expect(await taken(app), way).to.equal(1);
        latch.open();
        await until(async () => (await taken(app)) === 0).catch(() => expect.fail(`${way}: held, handler ${what}`));
        socket.destroy();
      }
    }
  });

  it("is held for a handler that begins when its client has left already", async () => {
    const [asking, working] = [openLatch(), openLatch()];
    const closed = countClosed();
    const watch = (raw: object): void => closed.watch((raw as { res: ServerResponse }).res);
    const answer = handler(async (res) => {
      await working.wait();
      res.end("late");
    });
    const app = await start(
      {},
      {
        use: (gate) => {
          const skip = async (raw: object): Promise<boolean> => (watch(raw), (await asking.wait()).held);
          return [gate.limit(slots), gate.limit({ name: "b", per: "ip", limit: 9, window: "1h", skip }), answer];
        },
      },
    );
    const socket = dial(app, get());
    await asking.waiting(1);
    socket.destroy();
    await until(() => closed.count === 1);
    asking.open();
    await working.waiting(1);
    expect(await taken(app)).to.equal(1);
    working.open();
    await until(async () => (await taken(app)) === 0);
  });

  it("is given back for several limits, of several gates, and where the last of them refuses", async () => {
    const latch = openLatch();
    const answer = handler(async (res) => {
      await latch.wait();
      res.end("late");
    });
    const others = await start();
    const app = await start(
      {},
      {
        use: (gate) => [
          others.gate.limit(slots),
          gate.limit(slots),
          gate.limit({ ...slots, name: "more", limit: 2 }),
          answer,
        ],
      },
    );
    const all = async (): Promise<number[]> => [await taken(others), await taken(app), await taken(app, "more")];
    const sockets = [dial(app, get()), dial(app, get())];
    await latch.waiting(2);
    expect((await send(app.url)).status).to.equal(429);
    await until(async () => (await all()).join() === "2,2,2");
    for (const socket of sockets) socket.destroy();
    latch.open();
    await until(async () => (await all()).join() === "0,0,0");
  });

  it("does not pile up on a connection that is used again", async () => {
    const sockets = new Set<Socket>();
    const counts = new Set<number>();
    const answer = handler((res) => {
      sockets.add(res.req.socket);
      counts.add(res.req.socket.listenerCount("close"));
      res.end("x");
    });
    const app = await start({}, { use: (gate) => [gate.limit(slots), answer] });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let time = 0; time < 20; time += 1) expect((await send(app.url, { agent })).status).to.equal(200);
    agent.destroy();
    expect([sockets.size, counts.size]).to.deep.equal([1, 1]);
    await until(async () => (await taken(app)) === 0);
  });

  it("is given back to the last request of a connection that is answered in turn", async () => {
    const app = await start({}, { use: (gate) => [gate.limit(slots), handler((res) => res.end("x"))] });
    const answer = await exchangeRaw(app.url, get() + get() + get("/", "Connection: close\r\n"));
    expect([statusOf(answer), answer.match(/HTTP\/1\.1 200/g)?.length]).to.deep.equal([200, 3]);
    await until(async () => (await taken(app)) === 0);
  });
});
