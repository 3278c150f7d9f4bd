import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import type { IncomingHttpHeaders } from "node:http2";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import type { Interceptor, Outgoing } from "../../packages/core/src/adapter.js";
import { interceptResponse } from "../../packages/core/src/adapter.js";
import { send } from "../support/http.js";

describe("an intercepted response", () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close().closeAllConnections();
  });

  interface Seen {
    readonly begun: Outgoing[];
    readonly bodies: (string | undefined)[];
  }

  async function serve(
    handle: (req: IncomingMessage, res: ServerResponse) => void,
    interceptor: Partial<Interceptor> = {},
  ): Promise<Seen & { url: string }> {
    const seen: Seen = { begun: [], bodies: [] };
    const server = createServer((req, res) => {
      res.setHeader("x-before", "1");
      interceptResponse(req, res, {
        hidden: ["x-hidden"],
        maxBytes: 8,
        headSent: () => undefined,
        complete: (body) => void seen.bodies.push(body === undefined ? undefined : Buffer.from(body).toString()),
        ...interceptor,
        begin(outgoing) {
          seen.begun.push(outgoing);
          return interceptor.begin?.(outgoing) ?? "follow";
        },
      });
      handle(req, res);
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { ...seen, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
  }

  it("is seen once and whole, however it is written", async () => {
    const ways: Record<string, (res: ServerResponse) => unknown> = {
      end: (res) => res.setHeader("x-own", "1").end("12345"),
      bytes: (res) => res.setHeader("x-own", "1").end(Buffer.from("12345")),
      encoded: (res) => res.setHeader("x-own", "1").end("3132333435", "hex"),
      "write and end": (res) => (res.setHeader("x-own", "1").write("12"), res.end("345")),
      "an encoded write": (res) => (res.setHeader("x-own", "1").write("3132", "hex"), res.end(Buffer.from("345"))),
      writeHead: (res) => res.writeHead(200, { "X-Own": "1" }).end("12345"),
      "writeHead with a reason": (res) => res.writeHead(200, "Fine", { "X-Own": "1" }).end("12345"),
      "writeHead with an undefined reason": (res) => res.writeHead(200, undefined, { "X-Own": "1" }).end("12345"),
      "writeHead with a reason of null": (res) => res.writeHead(200, null as never, { "X-Own": "1" }).end("12345"),
      "writeHead with a list behind no reason": (res) => res.writeHead(200, undefined, ["X-Own", "1"]).end("12345"),
      "writeHead with a list": (res) => res.writeHead(200, ["X-Own", "1"]).end("12345"),
      flushHeaders: (res) => (res.setHeader("x-own", "1").flushHeaders(), res.end("12345")),
    };
    for (const [way, write] of Object.entries(ways)) {
      const { url, begun, bodies } = await serve((_, res) => void write(res));
      const answer = await send(url);
      expect([answer.text, answer.headers["x-own"], answer.headers["x-before"]], way).to.deep.equal([
        "12345",
        "1",
        "1",
      ]);
      expect(
        begun.map(({ status, fields, before }) => [status, fields["x-own"], before["x-own"]]),
        way,
      ).to.deep.equal([[200, "1", undefined]]);
      expect(bodies, way).to.deep.equal(["12345"]);
    }
  });

  it("has all values of the fields that writeHead was given, in HTTP/2 as pairs, too", async () => {
    const cookies = ["a=1", "b=2"];
    const { url, begun } = await serve((_, res) => res.writeHead(200, ["set-cookie", cookies]).end("12345"));
    expect((await send(url)).headers["set-cookie"]).to.deep.equal(cookies);
    expect(begun[0]?.fields["set-cookie"]).to.deep.equal(cookies);

    const server = createHttp2Server((req, res) => {
      interceptResponse(req as never, res as never, {
        hidden: [],
        maxBytes: 8,
        begin: (outgoing) => (begun.push(outgoing), "pass"),
        headSent: () => undefined,
        complete: () => undefined,
      });
      res.writeHead(200, [
        ["cache-control", "private"],
        ["set-cookie", cookies],
      ] as never);
      res.end("12345");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    try {
      const [headers] = (await once(session.request().resume(), "response")) as [IncomingHttpHeaders];
      expect([headers["cache-control"], headers["set-cookie"]]).to.deep.equal(["private", cookies]);
      expect(begun[1]?.fields).to.deep.include({ "cache-control": "private", "set-cookie": cookies });
    } finally {
      session.destroy();
      server.close();
    }
  });

  it("keeps no more bytes than allowed of a body in parts, and calls back", async () => {
    let told = 0;
    const { url, bodies } = await serve((_, res) => {
      res.write("12345", () => (told += 1));
      res.write("67890", "utf8", () => (told += 1));
      res.end(() => (told += 1));
    });
    expect((await send(url)).text).to.equal("1234567890");
    expect(bodies).to.deep.equal([undefined]);
    expect(told).to.equal(3);
  });

  it("is replaced by a reply, however it was begun; only header fields from before the handler stay", async () => {
    const reply = { allowed: false, status: 203, headers: [["x-reply", "1"]], body: "instead" } as const;
    for (const write of [
      (res: ServerResponse, tell: () => void) => res.end("own", tell),
      (res: ServerResponse, tell: () => void) => (res.write("own", tell), res.write("more"), res.end()),
      (res: ServerResponse, tell: () => void) => (
        res.writeHead(500, { "x-own": "1" }),
        res.write("own", "utf8", tell),
        res.end("more")
      ),
      (res: ServerResponse, tell: () => void) => (res.end("own"), res.end("again", "utf8", tell)),
    ]) {
      let told = 0;
      const { url } = await serve(
        (_, res) => {
          res.setHeader("content-length", "3");
          write(res, () => (told += 1));
        },
        { begin: () => reply },
      );
      const { status, text, headers } = await send(url);
      expect([status, text, headers["x-reply"], headers["x-before"], headers["x-own"]]).to.deep.equal([
        203,
        "instead",
        "1",
        "1",
        undefined,
      ]);
      expect(told).to.equal(1);
    }
  });

  it("becomes a 304 that keeps the fields that do not describe the body", async () => {
    const { url, bodies } = await serve(
      (_, res) => res.setHeader("set-cookie", "a=1").setHeader("content-type", "text/plain").end("own"),
      {
        begin: () => "notModified",
      },
    );
    const { status, text, headers } = await send(url);
    expect([status, text]).to.deep.equal([304, ""]);
    expect(headers["set-cookie"]).to.deep.equal(["a=1"]);
    expect(headers).not.to.have.any.keys("content-type", "content-length");
    expect(bodies).to.deep.equal([]);
  });

  it("hides request fields from its handler, and leaves a response alone that has begun", async () => {
    let hidden: unknown = "not asked";
    const { url } = await serve((req, res) => {
      hidden = req.headers["x-hidden"];
      res.end("x");
    });
    await send(url, { headers: { "x-hidden": "1" } });
    expect(hidden).to.equal(undefined);
    const late = await serve((req, res) => {
      res.write("begun ");
      interceptResponse(req, res, {
        hidden: [],
        maxBytes: 8,
        begin: () => ({ allowed: false, status: 500, headers: [], body: "" }),
        headSent: () => undefined,
        complete: () => undefined,
      });
      res.end("x");
    });
    expect((await send(late.url)).text).to.equal("begun x");
  });

  it("reports a sent head before the body is complete, and reports at once a body that is too large", async () => {
    const steps: string[] = [];
    const note = { headSent: () => void steps.push("head"), complete: () => void steps.push("complete") };
    const ways: Record<string, readonly [write: (res: ServerResponse) => unknown, expected: readonly string[]]> = {
      "end alone": [(res) => res.end("12345"), ["complete", "handler"]],
      "a head that waits for the first byte": [(res) => res.writeHead(200), ["handler"]],
      "a head and the end": [(res) => res.writeHead(200).end("12345"), ["complete", "handler"]],
      "a flushed head": [(res) => res.flushHeaders(), ["head", "handler"]],
      parts: [(res) => (res.write("12"), res.write("34")), ["head", "handler"]],
      "too many bytes": [(res) => (res.write("12345"), res.write("67890")), ["head", "complete", "handler"]],
    };
    for (const [way, [write, expected]] of Object.entries(ways)) {
      steps.length = 0;
      const { url } = await serve((_, res) => {
        write(res);
        steps.push("handler");
        res.end();
      }, note);
      await send(url);
      expect(steps.slice(0, expected.length), way).to.deep.equal(expected);
      expect(
        steps.filter((step) => step === "complete"),
        way,
      ).to.have.length(1);
    }
  });
});
