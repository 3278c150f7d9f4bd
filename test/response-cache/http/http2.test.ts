import { connect, createServer } from "node:http2";
import type { OutgoingHttpHeaders } from "node:http2";
import { createServer as createPlainServer, request as requestPlain } from "node:http";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { createServer as createTlsServer, request as requestTls } from "node:https";
import type { AddressInfo } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { makeCertificates } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import Koa from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

const stores = [
  { store: "in process", redis: () => "memory" },
  { store: "on Redis", redis: testRedisUrl },
];

interface Made {
  readonly body: string;
  readonly location?: string | undefined;
  readonly etag?: string | undefined;
}

type Handle = (message: IncomingMessage) => Made;

/** A listener behind the cache, and its gate. */
type Build = (
  handle: Handle,
  redis: string,
) => { readonly listener: RequestListener; readonly close: () => Promise<void> };

const buildKoa =
  (Framework: typeof Koa): Build =>
  (handle, redis) => {
    const gate = koaGate({ redis, prefix: freshPrefix(), logger: silentLogger, deadline: 1000 });
    const app = new Framework();
    app.silent = true;
    app.use(gate.cacheResponse({ ttl: "1m" }));
    app.use((ctx) => {
      const { body, location, etag } = handle(ctx.req);
      if (location !== undefined) ctx.set("Location", location);
      if (etag !== undefined) ctx.set("ETag", etag);
      ctx.body = body;
    });
    const answer = app.callback();
    return { listener: (req, res) => void answer(req, res), close: async () => gate.close() };
  };

/** An application of Express knows HTTP/1 alone; its middleware knows the compatible API of Node too. */
const buildExpress: Build = (handle, redis) => {
  const gate = expressGate({ redis, prefix: freshPrefix(), logger: silentLogger, deadline: 1000 });
  const cache = gate.cacheResponse({ ttl: "1m" }) as unknown as (
    req: IncomingMessage,
    res: ServerResponse,
    next: () => void,
  ) => void;
  return {
    listener: (req, res) =>
      cache(req, res, () => {
        const { body, location, etag } = handle(req);
        if (location !== undefined) res.setHeader("Location", location);
        if (etag !== undefined) res.setHeader("ETag", etag);
        res.end(body);
      }),
    close: async () => gate.close(),
  };
};

const frameworks = [
  { name: "Koa", build: buildKoa(Koa) },
  { name: "Koa 2", build: buildKoa(Koa2) },
  { name: "middleware for Express", build: buildExpress },
];

interface Answer {
  readonly status: number | undefined;
  readonly cacheStatus: string;
  readonly text: string;
}

interface Asked {
  readonly body?: string;
  readonly headers?: OutgoingHttpHeaders;
}

for (const { name, build } of frameworks) {
  for (const { store, redis } of stores) {
    describe(`the response cache over HTTP/2 on ${name} ${store}`, () => {
      /** Errors of streams go to `failures`. */
      async function start(handle: Handle, failures: unknown[] = []) {
        const { listener, close } = build(handle, redis());
        const server = createServer(listener as never);
        server.on("stream", (stream) => stream.on("error", (error) => failures.push(error)));
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
        session.on("error", () => undefined);
        cleanUpInTest(async () => {
          session.destroy();
          await new Promise((resolve) => server.close(resolve));
          await close();
        });
        return (authority: string, path: string, { body, headers = {} }: Asked = {}): Promise<Answer> =>
          new Promise((resolve, reject) => {
            const pseudo = { ":path": path, ":authority": authority };
            const stream = session.request({ ...pseudo, ...headers }, { endStream: body === undefined });
            let status: number | undefined;
            let cacheStatus = "";
            let text = "";
            stream.on("response", (head) => {
              status = head[":status"];
              cacheStatus = String(head["cache-status"]);
            });
            stream.setEncoding("utf8");
            stream.on("data", (part: string) => (text += part));
            stream.on("end", () => resolve({ status, cacheStatus, text }));
            stream.on("error", reject);
            if (body !== undefined) stream.end(body);
          });
      }

      it("sends no response that was made for another authority or scheme", async () => {
        const ask = await start(({ headers }) => ({
          body: `${String(headers[":scheme"])}://${String(headers[":authority"])}/reset, also ${String(headers.host)}`,
        }));
        const asked: [string, Asked, string][] = [
          ["evil.example", {}, "http://evil.example/reset, also undefined"],
          ["shop.example", {}, "http://shop.example/reset, also undefined"],
          ["shop.example", { headers: { ":scheme": "https" } }, "https://shop.example/reset, also undefined"],
          ["shop.example", { headers: { host: "evil.example" } }, "http://shop.example/reset, also evil.example"],
        ];
        for (const [authority, more, text] of asked) {
          const made = await ask(authority, "/help", more);
          expect([made.text, made.cacheStatus]).to.deep.equal([text, "portcullis; fwd=uri-miss; stored"]);
        }
        for (const [authority, more, text] of asked) {
          const kept = await ask(authority, "/help", more);
          expect(kept.text).to.equal(text);
          expect(kept.cacheStatus).to.include("hit");
        }
      });

      it("ends an answer without a body with its head, and no stream reports an error", async () => {
        const failures: unknown[] = [];
        const ask = await start(() => ({ body: "x", etag: '"1"' }), failures);
        const about = { "if-none-match": '"1"' };
        expect((await ask("shop.example", "/", { headers: about })).status).to.equal(304);
        const known = await ask("shop.example", "/", { headers: about });
        expect([known.status, known.text]).to.deep.equal([304, ""]);
        expect(known.cacheStatus).to.include("hit");
        const head = await ask("shop.example", "/", { headers: { ":method": "HEAD" } });
        expect([head.status, head.text]).to.deep.equal([200, ""]);
        expect(head.cacheStatus).to.include("hit");
        // An error would have been reported before the next answer.
        expect((await ask("shop.example", "/")).text).to.equal("x");
        expect(failures).to.deep.equal([]);
      });

      it("passes by with a body, which no length announces", async () => {
        const ask = await start(() => ({ body: "x" }));
        await ask("shop.example", "/a");
        for (const body of ["x", ""])
          expect((await ask("shop.example", "/a", { body })).cacheStatus).to.equal("portcullis; fwd=bypass");
        expect((await ask("shop.example", "/a")).cacheStatus).to.include("hit");
      });

      it("invalidates the target of a Location with this authority, whatever its scheme, and no target of another authority", async () => {
        const ask = await start(({ method, url = "" }) => ({
          body: "x",
          location: method === "POST" ? (new URL(url, "http://x").searchParams.get("to") ?? "") : undefined,
        }));
        for (const [authority, location, isEnded] of [
          ["shop.example", "/b", true],
          ["shop.example", "http://shop.example/b", true],
          ["shop.example", "https://shop.example/b", true],
          ["shop.example:443", "https://shop.example/b", true],
          ["shop.example:8443", "https://shop.example:8443/b", true],
          ["shop.example", "https://evil.example/b", false],
          ["shop.example", "https://shop.example:8443/b", false],
        ] as const) {
          await ask(authority, "/b");
          expect((await ask(authority, "/b")).cacheStatus).to.include("hit");
          const to = `/orders?to=${encodeURIComponent(location)}`;
          await ask(authority, to, { body: "x", headers: { ":method": "POST" } });
          const { cacheStatus } = await ask(authority, "/b");
          expect(cacheStatus.includes("hit"), `${authority} ${location}`).to.equal(!isEnded);
        }
      });
    });
  }
}

interface TlsAsked {
  readonly secure: boolean;
  readonly withCertificate?: boolean;
}

describe("the response cache of one application on http and https", () => {
  const certificates = makeCertificates();

  async function listen(server: Server): Promise<number> {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }

  async function serve(listener: RequestListener, close: () => Promise<void>) {
    const plain = createPlainServer(listener);
    const asks = { ca: certificates.ca, requestCert: true, rejectUnauthorized: false };
    const tls = createTlsServer({ ...certificates.server, ...asks }, listener);
    const ports = { plain: await listen(plain), tls: await listen(tls) };
    cleanUpInTest(async () => {
      for (const server of [plain, tls]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
      await close();
    });
    return ({ secure, withCertificate = false }: TlsAsked): Promise<string> =>
      new Promise((resolve, reject) => {
        const common = { host: "127.0.0.1", path: "/a", agent: false, headers: { host: "shop.example" } };
        const own = withCertificate ? certificates.client : {};
        const sent = secure
          ? requestTls({ ...common, port: ports.tls, ca: certificates.ca, servername: "localhost", ...own })
          : requestPlain({ ...common, port: ports.plain });
        sent.on("response", (answer) => {
          let text = `${String(answer.headers["cache-status"])}: `;
          answer.setEncoding("utf8");
          answer.on("data", (part: string) => (text += part));
          answer.on("end", () => resolve(text));
        });
        sent.on("error", reject);
        sent.end();
      });
  }

  const options = { redis: "memory", logger: silentLogger } as const;

  function onKoa(Framework: typeof Koa): ReturnType<typeof serve> {
    const gate = koaGate(options);
    const app = new Framework();
    app.use(gate.cacheResponse({ ttl: "1m" }));
    app.use((ctx) => {
      ctx.body = `${ctx.protocol} ${nameOfPeer(ctx.req)}`;
    });
    const handle = app.callback();
    return serve(
      (req, res) => void handle(req, res),
      async () => gate.close(),
    );
  }

  function onExpress(): ReturnType<typeof serve> {
    const gate = expressGate(options);
    const app = express();
    app.use(gate.cacheResponse({ ttl: "1m" }));
    app.use((req, res) => void res.end(`${req.protocol} ${nameOfPeer(req)}`));
    return serve(app, async () => gate.close());
  }

  for (const [name, start] of [
    ["Express", onExpress],
    ["Koa", () => onKoa(Koa)],
    ["Koa 2", () => onKoa(Koa2)],
  ] as const) {
    it(`separates the responses to each, and those to a client with a certificate, on ${name}`, async () => {
      const ask = await start();
      expect(await ask({ secure: true, withCertificate: true })).to.equal(
        'portcullis; fwd=uri-miss; detail="credentials: certificate": https client',
      );
      for (const [secure, text] of [
        [true, "https nobody"],
        [false, "http nobody"],
      ] as const) {
        expect(await ask({ secure })).to.equal(`portcullis; fwd=uri-miss; stored: ${text}`);
        expect(await ask({ secure })).to.match(new RegExp(`hit; ttl=\\d+: ${text}$`));
      }
      expect(await ask({ secure: true, withCertificate: true })).to.include("https client");
    });
  }
});

function nameOfPeer(message: object): string {
  const { socket } = message as { socket: { getPeerCertificate?: () => { subject?: { CN?: string } } } };
  return socket.getPeerCertificate?.().subject?.CN ?? "nobody";
}
