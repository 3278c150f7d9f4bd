import { once } from "node:events";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import { Agent, request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { Readable } from "node:stream";
import { portcullis as koaGate } from "@portcullis/koa";
import { expect } from "chai";
import Koa from "koa";
import Koa2 from "koa2";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import type { OriginAnswer, OriginRequest } from "../../support/origin.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { latch, serveCached } from "../../support/response-cache.js";
import { until } from "../../support/until.js";

const fresh = { "cache-control": "public, max-age=60" };
/** Longer than any test: who waits so long is never answered. */
const wait = "1h";

/** As many bytes as this, as fast as they are taken. */
function bytes(size: number): Readable {
  let left = size;
  return new Readable({
    read() {
      const count = Math.min(left, 65_536);
      left -= count;
      this.push(count === 0 ? null : Buffer.alloc(count, 97));
    },
  });
}

/** A body that begins and does not end. */
function endless(text = "begun "): Readable {
  let begun = false;
  return new Readable({
    read() {
      if (!begun) this.push(text);
      begun = true;
    },
  });
}

/** The first bytes of an answer; the rest is left alone. */
async function begin(url: string, agent?: Agent): Promise<string> {
  const asked = request(url, { agent: agent ?? new Agent() });
  asked.end();
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  const [chunk] = (await once(answer, "data")) as [Buffer];
  asked.on("error", () => undefined);
  asked.destroy();
  return chunk.subarray(0, 20).toString();
}

/** Asks, and does not read. */
function askAndNotRead(url: string): Socket {
  const { hostname, port, pathname, host } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on("error", () => undefined);
  socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  socket.pause();
  sockets.add(socket);
  return socket;
}

/** Who does not read does not notice either that the other side has gone. */
const sockets = new Set<Socket>();

describeOnEveryFramework("a response that comes in parts", function (start) {
  const agents: Agent[] = [];
  afterEach(() => {
    for (const agent of agents.splice(0)) agent.destroy();
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  });
  function agent(): Agent {
    const made = new Agent({ keepAlive: true });
    agents.push(made);
    return made;
  }

  for (const length of ["without a length", "with a length beyond the maximum"] as const) {
    it(`and whose client does not read blocks no other request, ${length}`, async () => {
      const size = 24 * 1024 * 1024;
      const app = await serveCached(
        start,
        () => ({
          headers: { ...fresh, ...(length === "without a length" ? {} : { "content-length": String(size) }) },
          body: bytes(size),
        }),
        { wait },
      );
      const slow = askAndNotRead(`${app.url}/file`);
      await until(() => app.calls() === 1);
      const shared = agent();
      const firsts = await Promise.all(Array.from({ length: 5 }, () => begin(`${app.url}/file`, shared)));
      expect(new Set(firsts)).to.deep.equal(new Set(["a".repeat(20)]));
      slow.destroy();
    });
  }

  const live: Record<string, (request: OriginRequest) => OriginAnswer> = {
    "an event stream that says nothing of its freshness": () => ({
      headers: { "content-type": "text/event-stream; charset=utf-8" },
      body: endless(),
    }),
    "a stream of JSON lines": () => ({ headers: { "content-type": "application/x-ndjson" }, body: endless() }),
    "a head that is flushed": ({ response }) => {
      response.statusCode = 200;
      response.flushHeaders();
      setTimeout(() => response.write("begun "), 300);
      return { done: true };
    },
  };
  for (const [what, handle] of Object.entries(live)) {
    it(`and never ends, as ${what}, blocks no other request, and releases all at once`, async () => {
      const app = await serveCached(start, handle, { ttl: "1m", wait });
      const shared = agent();
      const firsts = await Promise.all(Array.from({ length: 30 }, () => begin(`${app.url}/live`, shared)));
      expect(new Set(firsts)).to.deep.equal(new Set(["begun "]));
      expect(app.calls()).to.equal(30);
      expect(await begin(`${app.url}/live`)).to.equal("begun ");
    });
  }

  it("is stored when it is complete, although waiting requests were released", async () => {
    const whole = latch();
    const app = await serveCached(
      start,
      ({ response }) => {
        response.writeHead(200, fresh);
        response.write("begun ");
        if (app.calls() === 1) void whole.opened.then(() => response.end("whole"));
        return { done: true };
      },
      { wait },
    );
    const slow = send(`${app.url}/a`);
    await until(() => app.calls() === 1);
    expect(await begin(`${app.url}/a`)).to.equal("begun ");
    whole.open();
    expect((await slow).text).to.equal("begun whole");
    await until(async () => (await begin(`${app.url}/a`)) === "begun whole");
  });

  it("and whose head waits for its first byte keeps requests waiting", async () => {
    const whole = latch();
    const app = await serveCached(
      start,
      ({ response }) => {
        response.writeHead(200, fresh);
        void whole.opened.then(() => response.end("whole"));
        return { done: true };
      },
      { wait },
    );
    const first = send(`${app.url}/a`);
    await until(() => app.calls() === 1);
    const others = Array.from({ length: 5 }, () => send(`${app.url}/a`, { agent: agent() }));
    // Three times what a body is waited for.
    await new Promise((resolve) => setTimeout(resolve, 300));
    whole.open();
    for (const { text } of await Promise.all([first, ...others])) expect(text).to.equal("whole");
    expect(app.calls()).to.equal(1);
  });

  it("renews a stale one while the others go on with that", async () => {
    const app = await serveCached(start, () =>
      app.calls() === 1
        ? { headers: { "cache-control": "max-age=60, stale-while-revalidate=60", age: "61" }, body: "old" }
        : { headers: fresh, body: endless() },
    );
    await send(`${app.url}/a`);
    askAndNotRead(`${app.url}/a`);
    await until(() => app.calls() > 1);
    const calls = app.calls();
    // It is not waited for any more by then.
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (let round = 0; round < 5; round += 1) expect((await send(`${app.url}/a`)).text).to.equal("old");
    expect(app.calls()).to.equal(calls);
  });

  it("of a client that leaves is no whole one, although its handler ends it then", async () => {
    const parts = ["one ", "two"];
    const ways = {
      "before the first part": { before: 0, length: false, calls: 2 },
      "between the parts": { before: 1, length: false, calls: 2 },
      "and has said its length, is one, if it is": { before: 1, length: true, calls: 1 },
    };
    for (const [way, { before, length, calls }] of Object.entries(ways)) {
      const settled = latch();
      const app = await serveCached(
        start,
        async ({ headers, response }) => {
          for (const [name, value] of Object.entries(fresh)) response.setHeader(name, value);
          if (length) response.setHeader("content-length", "7");
          if (headers["x-leaves"] === undefined) return { body: parts.join("") };
          for (const part of parts.slice(0, before)) response.write(part);
          await once(response, "close");
          response.end(length ? parts.slice(before).join("") : undefined);
          settled.open();
          return { done: true };
        },
        { wait },
      );
      const leaving = agent();
      const left = send(`${app.url}/a`, { headers: { "x-leaves": "1" }, agent: leaving }).catch(() => "gone");
      await until(() => app.calls() === 1);
      leaving.destroy();
      expect(await left).to.equal("gone");
      await settled.opened;
      for (let round = 0; round < 2; round += 1)
        expect((await send(`${app.url}/a`, { agent: agent() })).text, way).to.equal("one two");
      expect(app.calls(), way).to.equal(calls);
    }
  });

  it("is not made again for waiting requests whose clients have left", async () => {
    const working = latch();
    let asked = 0;
    const app = await serveCached(
      start,
      async ({ url }) => {
        if (url === "/a") await working.opened;
        return { headers: fresh, body: "x" };
      },
      { wait, skip: () => (asked += 1) === 0 },
    );
    const leaving = Array.from({ length: 30 }, () => askAndNotRead(`${app.url}/a`));
    await until(() => asked === leaving.length);
    const staying = send(`${app.url}/a`, { agent: agent() });
    // The store answers in turn: when this one is answered, all others wait.
    await send(`${app.url}/b`, { agent: agent() });
    await until(() => asked === leaving.length + 2);
    for (const socket of leaving) socket.destroy();
    await until(() => app.calls() > 2);
    working.open();
    expect((await staying).text).to.equal("x");
    // The first, that of the other address, the one that stays, and some of which it is not known yet that they have left.
    expect(app.calls()).to.be.within(3, 10);
  });

  it("of a client that leaves ends for waiting requests, and the next leader answers them", async () => {
    const app = await serveCached(
      start,
      async ({ headers, response }) => {
        if (headers["x-leaves"] === undefined) return { headers: fresh, body: "stayed" };
        await once(response, "close");
        return { done: true };
      },
      { wait },
    );
    const leaving = agent();
    const left = send(`${app.url}/a`, { headers: { "x-leaves": "1" }, agent: leaving }).catch(() => "gone");
    await until(() => app.calls() === 1);
    const waiting = Array.from({ length: 5 }, () => send(`${app.url}/a`, { agent: agent() }));
    leaving.destroy();
    expect(await left).to.equal("gone");
    for (const { text } of await Promise.all(waiting)) expect(text).to.equal("stayed");
  });
});

for (const [framework, Framework] of [
  ["Koa", Koa],
  ["Koa 2", Koa2],
] as const) {
  for (const store of ["in process", "on Redis"]) {
    describe(`a response that comes in parts on ${framework} over HTTP/2 ${store}`, () => {
      it("blocks no request, not on its own connection either", async () => {
        const redis = store === "in process" ? "memory" : testRedisUrl();
        const gate = koaGate({ redis, prefix: freshPrefix(), logger: silentLogger });
        const app = new Framework();
        app.silent = true;
        let calls = 0;
        app.use(gate.cacheResponse({ ttl: "1m", wait }));
        app.use((ctx) => {
          calls += 1;
          ctx.type = "application/octet-stream";
          ctx.body = ctx.path === "/file" ? bytes(24 * 1024 * 1024) : endless();
        });
        const handle = app.callback();
        const server = createHttp2Server((req, res) => void handle(req as never, res as never));
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
        try {
          for (const path of ["/file", "/live"]) {
            calls = 0;
            // Its window is not opened any further.
            const slow = session.request({ ":path": path });
            slow.pause();
            await until(() => calls === 1);
            const others = Array.from({ length: 10 }, async () => {
              const stream = session.request({ ":path": path });
              const [chunk] = (await once(stream, "data")) as [Buffer];
              stream.close();
              return chunk.length > 0;
            });
            expect(await Promise.all(others)).to.deep.equal(others.map(() => true));
            slow.close();
          }
        } finally {
          session.destroy();
          await new Promise((resolve) => server.close(resolve));
          await gate.close();
        }
      });

      it("is not shared with a request that has a body, which no field need announce, nor waited for", async () => {
        const redis = store === "in process" ? "memory" : testRedisUrl();
        const gate = koaGate({ redis, prefix: freshPrefix(), logger: silentLogger });
        const app = new Framework();
        app.silent = true;
        app.use(gate.cacheResponse({ ttl: "1m", wait }));
        let begun = 0;
        app.use(async (ctx) => {
          begun += 1;
          let text = "";
          for await (const chunk of ctx.req) text += String(chunk);
          ctx.body = `you say ${text}`;
        });
        const handle = app.callback();
        const server = createHttp2Server((req, res) => void handle(req as never, res as never));
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
        const ask = async (body?: string): Promise<string> => {
          const stream = session.request({ ":path": "/a" }, { endStream: body === undefined });
          if (body !== undefined) stream.end(body);
          return String(((await once(stream, "data")) as [Buffer])[0]);
        };
        try {
          const unfinished = session.request({ ":path": "/a" }, { endStream: false });
          await until(() => begun === 1);
          expect(await ask("evil")).to.equal("you say evil");
          expect(await ask()).to.equal("you say ");
          expect(await ask()).to.equal("you say ");
          expect(begun).to.equal(3);
          unfinished.close();
        } finally {
          session.destroy();
          await new Promise((resolve) => server.close(resolve));
          await gate.close();
        }
      });
    });
  }
}
