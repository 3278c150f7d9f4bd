import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import type { IdempotencyOptions } from "@portcullis/core";
import { portcullis as expressGate } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import type { KoaGate } from "@portcullis/koa";
import express from "express";
import type { RequestHandler } from "express";
import express4 from "express4";
import Koa from "koa";
import type { Middleware } from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../../support/clean-up.js";
import { sendForBytes } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix } from "../../support/redis.js";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly replayed: boolean;
}

export interface PostOptions {
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export type Post = (options?: PostOptions) => Promise<Answer>;

/** An application with its middleware in front of `idempotency()`, and behind it. */
export interface Layers<M, G> {
  readonly front?: (gate: G) => readonly M[];
  readonly behind: (gate: G) => readonly M[];
  readonly options?: IdempotencyOptions;
  /** @default "memory" */
  readonly redis?: string;
}

export interface Origin<M, G> {
  readonly name: string;
  readonly open: (layers: Layers<M, G>) => Promise<{ readonly gate: G; readonly post: Post; readonly url: string }>;
}

/** One caller for all. */
const caller = (): string => "caller";

export const expressOrigins: readonly Origin<RequestHandler, ExpressGate>[] = [
  ["Express", express] as const,
  ["Express 4", express4] as const,
].map(([name, framework]) => ({
  name,
  async open({ front, behind, options, redis = "memory" }) {
    const app = framework();
    app.set("env", "test");
    const gate = expressGate({ redis, prefix: freshPrefix(), deadline: 1000, logger: silentLogger });
    cleanUpInTest(() => gate.close());
    for (const middleware of front?.(gate) ?? []) app.use(middleware);
    app.use(gate.idempotency({ caller, ...options }));
    for (const middleware of behind(gate)) app.use(middleware);
    return { gate, ...(await listen(app)) };
  },
}));

export const koaOrigins: readonly Origin<Middleware, KoaGate>[] = [
  ["Koa", Koa, listen] as const,
  ["Koa 2", Koa2, listen] as const,
  ["Koa over HTTP/2", Koa, listenHttp2] as const,
].map(([name, Framework, serve]) => ({
  name,
  async open({ front, behind, options, redis = "memory" }) {
    const app = new Framework();
    app.silent = true;
    const gate = koaGate({ redis, prefix: freshPrefix(), deadline: 1000, logger: silentLogger });
    cleanUpInTest(() => gate.close());
    for (const middleware of front?.(gate) ?? []) app.use(middleware);
    app.use(gate.idempotency({ caller, ...options }));
    for (const middleware of behind(gate)) app.use(middleware);
    const handle = app.callback();
    return { gate, ...(await serve((req, res) => void handle(req, res))) };
  },
}));

async function listen(listener: RequestListener): Promise<{ url: string; post: Post }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUpInTest(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    url,
    async post({ key = "k", headers, body } = {}) {
      const all = { "idempotency-key": key, ...headers };
      const answer = await sendForBytes(url, { method: "POST", headers: all, ...(body === undefined ? {} : { body }) });
      return readAnswer(answer.status, answer.headers, answer.bytes);
    },
  };
}

async function listenHttp2(listener: RequestListener): Promise<{ url: string; post: Post }> {
  const server = createHttp2Server(listener as never);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const session = connectHttp2(url);
  cleanUpInTest(() => {
    session.destroy();
    server.close();
  });
  return {
    url,
    post: ({ key = "k", headers = {}, body } = {}) =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ":method": "POST", ":path": "/", "idempotency-key": key, ...headers });
        const chunks: Buffer[] = [];
        let status = 0;
        let fields: Answer["headers"] = {};
        stream.on("response", (head) => {
          status = Number(head[":status"]);
          fields = head;
        });
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => resolve(readAnswer(status, fields, Buffer.concat(chunks))));
        stream.on("error", reject);
        stream.end(body);
      }),
  };
}

function readAnswer(status: number, headers: Answer["headers"], bytes: Buffer): Answer {
  return { status, headers, text: bytes.toString(), replayed: headers["idempotency-replayed"] === "?1" };
}
