import { EventEmitter } from "node:events";
import { createServer, request, ServerResponse, IncomingMessage } from "node:http";
import type { RequestListener } from "node:http";
import { createServer as createHttp2Server, connect as connectHttp2, constants } from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import { connect, Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { expect } from "chai";
import {
  abortOnConnectionEnd,
  abortOnDisconnect,
  endUnheard,
  isDead,
  onConnectionEnd,
  onResponseEnd,
} from "../../packages/core/src/http/response-end.js";
import { cleanUpInTest } from "../support/clean-up.js";
import { until } from "../support/until.js";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async function listen(listener: RequestListener): Promise<number> {
  const server = createServer(listener);
  cleanUpInTest(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

function dial(port: number, text: string): Socket {
  const socket = connect(port, "127.0.0.1").on("error", () => undefined);
  socket.resume().write(text);
  return socket;
}

describe("the end of a response", () => {
  /** What was told of one request: the statuses, and whether the signal was aborted. */
  async function observe(
    respond: (res: ServerResponse) => void,
    leave: boolean,
  ): Promise<{ told: number[]; aborted: boolean }> {
    const told: number[] = [];
    let signal: AbortSignal | undefined;
    let late: ServerResponse | undefined;
    const closed = deferred();
    const port = await listen((_req, res) => {
      late = res;
      signal = abortOnDisconnect(res);
      onResponseEnd(res, (status) => told.push(status));
      res.once("close", () => closed.resolve());
      respond(res);
    });
    await new Promise<void>((resolve) => {
      const outgoing = request({ port, host: "127.0.0.1" }, (incoming) => {
        if (leave) {
          incoming.destroy();
          resolve();
        } else {
          incoming.resume().on("end", resolve);
        }
      });
      outgoing.on("error", () => resolve());
      outgoing.end();
      if (leave) void pause(50).then(() => outgoing.destroy());
    });
    await closed.done;
    if (late !== undefined) onResponseEnd(late, (status) => told.push(status));
    await new Promise(setImmediate);
    expect(late !== undefined && abortOnDisconnect(late).aborted).to.equal(signal?.aborted);
    return { told, aborted: signal?.aborted === true };
  }

  it("is reported once to each listener, with the status, and aborts nothing", async () => {
    const answer = await observe((res) => res.writeHead(418).end("tea"), false);
    expect(answer).to.deep.equal({ told: [418, 418], aborted: false });
  });

  it("is reported with 0 if the client left before the response, and aborts", async () => {
    expect(await observe(() => undefined, true)).to.deep.equal({ told: [0, 0], aborted: true });
  });

  it("is reported with 0 if the client left during the response, and aborts", async () => {
    const answer = await observe((res) => res.writeHead(206).write("some"), true);
    expect(answer).to.deep.equal({ told: [0, 0], aborted: true });
  });

  it("is reported to a listener that is added after the end", async () => {
    const statuses: number[] = [];
    const responses: ServerResponse[] = [];
    const port = await listen((_req, res) => {
      responses.push(res);
      if (responses.length === 1) res.writeHead(201).end("x");
    });
    const socket = dial(port, get + get + get);
    await until(() => responses.length === 3 && responses[0]?.closed === true);
    socket.destroy();
    await until(() => responses[1]?.closed === true);
    // The handler has not noticed.
    for (const res of responses.slice(1)) res.writeHead(200).end("late");
    for (const res of responses) onResponseEnd(res, (status) => statuses.push(status));
    await until(() => statuses.length === 3);
    expect(statuses).to.deep.equal([201, 0, 0]);
    expect(responses.map((res) => abortOnDisconnect(res).aborted)).to.deep.equal([false, true, true]);
  });

  it("comes with that of the connection for responses that wait behind another", async () => {
    const told: number[] = [];
    const signals: AbortSignal[] = [];
    const port = await listen((_req, res) => {
      signals.push(abortOnDisconnect(res));
      onResponseEnd(res, (status) => told.push(status));
      // The second is complete, and waits.
      if (signals.length === 2) res.end("done");
    });
    const socket = dial(port, get + get + get);
    await until(() => signals.length === 3);
    socket.destroy();
    await until(() => told.length === 3);
    expect(told).to.deep.equal([0, 0, 0]);
    expect(signals.map(({ aborted }) => aborted)).to.deep.equal([true, true, true]);
  });

  it("takes one listener of a connection, however many requests a client sends at once, and none afterwards", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on("warning", note);
    const sockets = new Set<Socket>();
    const responses: ServerResponse[] = [];
    let before = -1;
    let ended = 0;
    const port = await listen((req, res) => {
      sockets.add(req.socket);
      if (before < 0) before = req.socket.listenerCount("close");
      responses.push(res);
      for (let time = 0; time < 3; time += 1) {
        onResponseEnd(res, () => (ended += 1));
        abortOnDisconnect(res);
      }
    });
    const socket = dial(port, get.repeat(80));
    await until(() => responses.length === 80);
    const [server] = sockets;
    expect(server?.listenerCount("close")).to.equal(before + 1);
    for (const res of responses) res.end("x");
    await until(() => ended === 240);
    // Node's own listener for the response in turn has gone too.
    expect(server?.listenerCount("close")).to.equal(before - 1);
    socket.write(get.repeat(2));
    await until(() => responses.length === 82);
    expect([sockets.size, server?.listenerCount("close")]).to.deep.equal([1, before + 1]);
    await new Promise(setImmediate);
    process.off("warning", note);
    expect(warnings).to.deep.equal([]);
  });

  it("is one signal for a response, for all callers", async () => {
    const seen = new Set<AbortSignal>();
    const port = await listen((_req, res) => {
      for (let time = 0; time < 20; time += 1) seen.add(abortOnDisconnect(res));
      res.end();
    });
    dial(port, get);
    await until(() => seen.size > 0);
    expect(seen.size).to.equal(1);
  });

  it("is reported to the other listeners if one throws", async () => {
    const told: number[] = [];
    const thrown: unknown[] = [];
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", (error) => thrown.push(error));
    const port = await listen((_req, res) => {
      onResponseEnd(res, () => {
        throw new Error("a failure of a listener");
      });
      onResponseEnd(res, (status) => told.push(status));
      res.end();
    });
    dial(port, get);
    await until(() => told.length === 1 && thrown.length === 1);
    process.removeAllListeners("uncaughtException");
    for (const other of others) process.on("uncaughtException", other);
    expect(told).to.deep.equal([200]);
  });

  describe("where events are missing", () => {
    it("is reported by finish alone for a response with a fake socket", async () => {
      const told: number[] = [];
      const res = fakeResponse();
      onResponseEnd(res, (status) => told.push(status));
      const signal = abortOnDisconnect(res);
      res.writeHead(202).end("x");
      await until(() => told.length > 0);
      onResponseEnd(res, (status) => told.push(status));
      await until(() => told.length > 1);
      expect([told, signal.aborted]).to.deep.equal([[202, 202], false]);
    });

    it("is reported at once for such a response that has been written", async () => {
      const told: number[] = [];
      const res = fakeResponse();
      res.writeHead(203).end("x");
      onResponseEnd(res, (status) => told.push(status));
      await until(() => told.length > 0);
      expect(told).to.deep.equal([203]);
    });

    it("comes after a quarter of an hour at the latest where there is no socket", () => {
      const told: number[] = [];
      const begun = performance.now();
      for (const res of [fakeResponse(), new ServerResponse(new IncomingMessage(new Socket()))]) {
        Object.defineProperty(res.req, "socket", { value: undefined });
        onResponseEnd(res, (status) => told.push(status));
      }
      endUnheard(begun + 14 * 60_000);
      expect(told).to.deep.equal([]);
      endUnheard(performance.now() + 15 * 60_000);
      expect(told).to.deep.equal([0, 0]);
    });

    it("is found if other code removed the listeners, or destroyed a response that waits", async () => {
      const told: number[] = [];
      const responses: ServerResponse[] = [];
      const port = await listen((_req, res) => {
        responses.push(res);
        onResponseEnd(res, (status) => told.push(status));
      });
      const socket = dial(port, get + get + get);
      await until(() => responses.length === 3);
      responses[1]?.destroy();
      endUnheard(performance.now() + 86_400_000);
      expect(told, "the others are alive").to.deep.equal([0]);
      for (const res of responses) res.removeAllListeners();
      const server = responses[0]?.req.socket;
      server?.removeAllListeners("close");
      socket.destroy();
      await until(() => server?.destroyed === true);
      endUnheard(performance.now());
      expect(told).to.deep.equal([0, 0, 0]);
    });
  });

  it("comes after ten seconds for a complete response that waits behind another on a connection that stays", async () => {
    const told: number[] = [];
    const responses: ServerResponse[] = [];
    const port = await listen((_req, res) => {
      responses.push(res);
      onResponseEnd(res, (status) => told.push(responses.indexOf(res), status));
      if (responses.length === 2) res.writeHead(201).end("done");
    });
    dial(port, get + get + get);
    await until(() => responses.length === 3);
    const begun = performance.now();
    endUnheard(begun);
    endUnheard(begun + 9_000);
    expect(told).to.deep.equal([]);
    endUnheard(begun + 10_000);
    expect(told, "only the second is complete").to.deep.equal([1, 0]);
    for (const index of [0, 2]) responses[index]?.end("x");
    await until(() => told.length === 6);
    expect(told).to.deep.equal([1, 0, 0, 200, 2, 200]);
  });

  describe("over HTTP/2", () => {
    interface Told {
      readonly statuses: number[];
      readonly late: number[];
      readonly aborted: boolean;
    }

    /** What is told of a response, to who asks at first and to who asks in the end. */
    async function observe2(
      respond: (res: ServerResponse) => void,
      act: (stream: ClientHttp2Stream, session: ClientHttp2Session) => unknown,
      headers: IncomingHttpHeaders = {},
    ): Promise<Told> {
      const statuses: number[] = [];
      const late: number[] = [];
      const responses: ServerResponse[] = [];
      const server = createHttp2Server((_req, other) => {
        const res = other as unknown as ServerResponse;
        responses.push(res);
        abortOnDisconnect(res);
        onResponseEnd(res, (status) => statuses.push(status));
        respond(res);
      });
      server.on("sessionError", () => undefined);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
      session.on("error", () => undefined);
      cleanUpInTest(async () => {
        session.destroy();
        await new Promise((resolve) => server.close(resolve));
      });
      const stream = session.request({ ":path": "/", ...headers }).on("error", () => undefined);
      await until(() => responses.length === 1);
      await act(stream, session);
      await until(() => statuses.length > 0);
      const [res] = responses;
      if (res === undefined) throw new Error("no request came");
      onResponseEnd(res, (status) => late.push(status));
      await until(() => late.length > 0);
      return { statuses, late, aborted: abortOnDisconnect(res).aborted };
    }

    const read = (stream: ClientHttp2Stream): unknown => stream.resume();
    const whole = (status: number): Told => ({ statuses: [status], late: [status], aborted: false });
    const broken: Told = { statuses: [0], late: [0], aborted: true };
    const answer =
      (status: number, body?: string | Buffer) =>
      (res: ServerResponse): void =>
        void res.writeHead(status).end(body);

    it("is reported with the status of a complete response, with a body and without", async () => {
      expect(await observe2(answer(201, "x"), read)).to.deep.equal(whole(201));
      expect(await observe2(answer(200, "x"), read, { ":method": "HEAD" })).to.deep.equal(whole(200));
      expect(await observe2(answer(204), read)).to.deep.equal(whole(204));
    });

    it("is reported with 0 if the stream was reset: before the response, during it, or with bytes under way", async () => {
      const reset = (stream: ClientHttp2Stream): unknown => stream.close(constants.NGHTTP2_CANCEL);
      expect(await observe2(() => undefined, reset)).to.deep.equal(broken);
      expect(await observe2((res) => void res.writeHead(200).write("x"), reset)).to.deep.equal(broken);
      expect(await observe2(answer(200, Buffer.alloc(5_000_000)), reset)).to.deep.equal(broken);
      const upload = { ":method": "POST", "content-length": "100" };
      expect(await observe2(() => undefined, reset, upload)).to.deep.equal(broken);
    });

    it("has come where the response is dead: its stream was closed, and neither destroyed nor heard of", async () => {
      for (const state of [{ aborted: true }, { closed: true }]) {
        const stream = Object.assign(new EventEmitter(), { rstCode: 8, destroyed: false, ...state });
        const res = Object.assign(new ServerResponse(new IncomingMessage(new Socket())), { stream });
        expect(isDead(res)).to.equal(true);
        const told: number[] = [];
        onResponseEnd(res, (status) => told.push(status));
        await until(() => told.length > 0);
        expect(told).to.deep.equal([0]);
      }
    });

    it("is reported with 0 if the session or the response was destroyed", async () => {
      expect(
        await observe2(
          () => undefined,
          (_stream, session) => session.destroy(),
        ),
      ).to.deep.equal(broken);
      expect(await observe2((res) => void res.destroy(), read)).to.deep.equal(broken);
    });
  });

  it("is that of the connection, for requests whose response is made elsewhere; they share a listener", async () => {
    const told: number[] = [];
    const messages: IncomingMessage[] = [];
    const port = await listen((req) => messages.push(req));
    const socket = dial(port, get + get);
    await until(() => messages.length === 2);
    const [first] = messages;
    const before = first?.socket.listenerCount("close") ?? 0;
    for (const message of messages) {
      for (let time = 0; time < 20; time += 1) {
        abortOnConnectionEnd(message);
        onConnectionEnd(message, (status) => told.push(status));
      }
    }
    expect(first?.socket.listenerCount("close")).to.equal(before + 1);
    socket.destroy();
    await until(() => told.length === 40);
    expect(new Set(told)).to.deep.equal(new Set([0]));
    expect(messages.map((message) => abortOnConnectionEnd(message).aborted)).to.deep.equal([true, true]);
  });
});

/** As serverless adapters make them: no event but `finish`, and a socket that takes listeners and calls none. */
function fakeResponse(): ServerResponse {
  const message = Object.assign(new IncomingMessage(new Socket()), { method: "GET" });
  Object.defineProperty(message, "socket", { value: { remoteAddress: "192.0.2.1" } });
  const res = new ServerResponse(message);
  res.assignSocket({
    ...{ writable: true, on: () => undefined, removeListener: () => undefined, destroy: () => undefined },
    ...{ cork: () => undefined, uncork: () => undefined, _writableState: {} },
    write(_data: unknown, encoding: unknown, done?: () => void) {
      const told = typeof encoding === "function" ? (encoding as () => void) : done;
      if (told !== undefined) queueMicrotask(told);
      return true;
    },
  } as unknown as Socket);
  return res;
}

function deferred(): { readonly done: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const done = new Promise<void>((settle) => (resolve = settle));
  return { done, resolve };
}
