import { createServer } from "node:http";
import type { IncomingMessage, OutgoingHttpHeaders, RequestListener, ServerResponse } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import type { ResponseCacheOptions } from "@portcullis/core";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import express from "express";
import type { RequestHandler } from "express";
import express4 from "express4";
import Koa from "koa";
import type { Middleware } from "koa";
import Koa2 from "koa2";
import { cleanUp } from "./clean-up.js";
import { sendForBytes } from "./http.js";
import type { ByteAnswer, SendOptions } from "./http.js";
import { silentLogger } from "./logger.js";
import { freshPrefix, testRedisUrl } from "./redis.js";
import { isSoak } from "./soak.js";

/** An application: its middleware in front of the cache, and what stands behind. */
export interface Layers<M> {
  readonly front?: readonly M[];
  /** Handlers by the path that they answer, without its slash. */
  readonly behind: readonly (readonly [path: string, handler: M])[];
}

/** A framework, on one version of HTTP, with or without a response cache in one of the stores. */
export interface Ground<M> {
  readonly name: string;
  /** Koa 2 does not answer HEAD over HTTP/2. */
  readonly methods: readonly ("GET" | "HEAD")[];
  /** Serves the application. `false` leaves the cache out. */
  serve(layers: Layers<M>, cache: ResponseCacheOptions | false): Promise<Ask>;
}

export type Ask = (path: string, options?: Pick<SendOptions, "method" | "headers">) => Promise<ByteAnswer>;

const stores = [
  { store: "in process", redis: () => "memory" as string | undefined },
  { store: "on Redis", redis: testRedisUrl },
] as const;

export const expressGrounds: readonly Ground<RequestHandler>[] = [
  ["Express", express] as const,
  ["Express 4", express4] as const,
].flatMap(([name, framework]) =>
  (name === "Express" ? stores : stores.slice(0, 1)).map(({ store, redis }) => ({
    name: `${name} ${store}`,
    methods: ["GET", "HEAD"],
    async serve({ front = [], behind }: Layers<RequestHandler>, cache: ResponseCacheOptions | false) {
      const app = framework();
      app.set("env", "test");
      const gate = expressGate({ redis: redis(), prefix: freshPrefix(), deadline: 1000, logger: silentLogger });
      cleanUp(() => gate.close());
      for (const middleware of front) app.use(middleware);
      if (cache !== false) app.use(gate.cacheResponse(cache));
      const handlers = new Map(behind);
      app.use((req, res, next) => handlers.get(decodeURIComponent(req.path.slice(1)))?.(req, res, next));
      return listenHttp1(app);
    },
  })),
);

export const koaGrounds: readonly Ground<Middleware>[] = [["Koa", Koa] as const, ["Koa 2", Koa2] as const].flatMap(
  ([name, Framework]) =>
    // HTTP/2 is the same to both majors: outside a soak, the current one stands for both.
    (name === "Koa" || isSoak ? (["HTTP/1", "HTTP/2"] as const) : (["HTTP/1"] as const)).flatMap((version) =>
      // What is stored is the same in both: one framework shows that it comes back from Redis.
      (name === "Koa" && version === "HTTP/1" ? stores : stores.slice(0, 1)).map(({ store, redis }) => ({
        name: `${name} over ${version} ${store}`,
        methods: name === "Koa 2" && version === "HTTP/2" ? ["GET"] : ["GET", "HEAD"],
        async serve({ front = [], behind }: Layers<Middleware>, cache: ResponseCacheOptions | false) {
          const app = new Framework();
          app.silent = true;
          const gate = koaGate({ redis: redis(), prefix: freshPrefix(), deadline: 1000, logger: silentLogger });
          cleanUp(() => gate.close());
          for (const middleware of front) app.use(middleware);
          if (cache !== false) app.use(gate.cacheResponse(cache));
          const handlers = new Map(behind);
          app.use((ctx, next) => handlers.get(decodeURIComponent(ctx.path.slice(1)))?.(ctx as never, next) as unknown);
          const handle = app.callback();
          const listener = (req: IncomingMessage, res: ServerResponse): void => void handle(req, res);
          return version === "HTTP/1" ? listenHttp1(listener) : listenHttp2(listener);
        },
      })),
    ),
);

async function listenHttp1(listener: RequestListener): Promise<Ask> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(() => server.close().closeAllConnections());
  const { port } = server.address() as AddressInfo;
  return (path, options) => sendForBytes(`http://127.0.0.1:${port}${path}`, options);
}

async function listenHttp2(listener: (req: IncomingMessage, res: ServerResponse) => void): Promise<Ask> {
  const server = createHttp2Server(listener as never);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  cleanUp(() => (session.destroy(), server.close()));
  return (path, { method = "GET", headers = {} } = {}) =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ...headers, ":method": method, ":path": path });
      const chunks: Buffer[] = [];
      let answer: OutgoingHttpHeaders = {};
      stream.on("response", (fields) => (answer = fields));
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("error", reject);
      stream.on("end", () => {
        const { ":status": status, ...fields } = answer as Record<string, string | undefined>;
        resolve({ status: Number(status), headers: fields, bytes: Buffer.concat(chunks) });
      });
      stream.end();
    });
}

/** Fields that differ between answers to one request in any case, and those by which the cache is known. */
const incomparable = ["date", "age", "cache-status", "connection", "keep-alive"];

/** What must be the same with the cache and without. */
export function comparable({ status, headers, bytes }: ByteAnswer): object {
  const fields = Object.entries(headers).filter(([name]) => !incomparable.includes(name));
  return { status, headers: Object.fromEntries(fields.sort()), body: bytes.toString("latin1") };
}
