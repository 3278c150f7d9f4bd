import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Auth, Gate, LoginAttempt, PortcullisOptions, Quota, RequestCache } from "@portcullis/core";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import express from "express";
import type { Request, RequestHandler, Response } from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import type { Middleware } from "koa";
import { cleanUpInTest } from "./clean-up.js";
import { searchForSecrets } from "./secret-detector.js";
import { portcullis as nodeGate } from "./node-adapter.js";
import type { Middleware as NodeMiddleware } from "./node-adapter.js";

/** What a handler of a test application sees, whichever framework runs it. */
export interface TestRequest {
  readonly auth?: Auth | undefined;
  readonly cache: RequestCache;
  readonly quotas: readonly Quota[];
  readonly loginAttempt?: LoginAttempt | undefined;
}

/** Middleware of whichever framework. */
export type AnyMiddleware = RequestHandler & Middleware;
/** What callbacks of a test may look at, whichever framework's request it is. */
interface AnyRaw {
  readonly headers: Record<string, string | string[] | undefined>;
}

export type AnyGate = Gate<AnyRaw, AnyMiddleware>;
export type AnyOptions = PortcullisOptions<AnyRaw>;

export interface TestApp {
  readonly options: AnyOptions;
  /** What stands before the handlers. @default the gate's guard */
  readonly use?: (gate: AnyGate) => AnyMiddleware[];
  /** Handlers by method and path, such as `GET /me`. Their result is sent as JSON, undefined as 204. */
  readonly routes: Readonly<Record<string, (request: TestRequest, gate: AnyGate) => unknown>>;
  /** Take the client's address from X-Forwarded-For: behind one proxy, or (unwisely) any number. */
  readonly behindProxy?: boolean | "every";
}

export interface RunningApp {
  readonly url: string;
  readonly gate: AnyGate;
  /** For what else listens to it, such as Socket.IO. */
  readonly server: Server;
  /** Done after the test in any case, if it was started in one. May be called twice. */
  close(): Promise<void>;
}

export interface TestAdapter {
  readonly name: string;
  /** A gate of this adapter without an application. */
  createGate(options: AnyOptions): AnyGate;
  start(app: TestApp): Promise<RunningApp>;
}

/** The current major of each framework. */
export const adapters: readonly TestAdapter[] = [
  { name: "Express", createGate: createExpressGate, start: (app) => startExpress(express, app) },
  { name: "Koa", createGate: createKoaGate, start: (app) => startKoa(Koa, app) },
];

/** Every major that is supported. */
export const allAdapters: readonly TestAdapter[] = [
  ...adapters,
  { name: "Express 4", createGate: createExpressGate, start: (app) => startExpress(express4, app) },
  { name: "Koa 2", createGate: createKoaGate, start: (app) => startKoa(Koa2, app) },
];

/** The adapter that core's README shows. It has no framework: it stands for adapters that are made elsewhere. */
export const nodeAdapter: TestAdapter = { name: "node:http", createGate: createNodeGate, start: startNode };

type Handler = TestApp["routes"][string];

function createExpressGate(options: AnyOptions): AnyGate {
  return expressGate(options) as unknown as AnyGate;
}

function createKoaGate(options: AnyOptions): AnyGate {
  return koaGate(options) as unknown as AnyGate;
}

function createNodeGate(options: AnyOptions): AnyGate {
  return nodeGate(options) as unknown as AnyGate;
}

async function startExpress(
  framework: typeof express,
  { options, use, routes, behindProxy }: TestApp,
): Promise<RunningApp> {
  const gate = createExpressGate(options);
  const app = framework();
  app.set("env", "test");
  if (behindProxy !== undefined) app.set("trust proxy", behindProxy === "every" ? true : 1);
  for (const middleware of use?.(gate) ?? [gate.guard()]) app.use(middleware as RequestHandler);
  for (const [route, handle] of Object.entries(routes)) {
    const [method = "", path = ""] = route.split(" ");
    app[method.toLowerCase() as "get"](path, (req, res, next) => void run(handle, req, res).catch(next));
  }

  // Express 4 does not wait for handlers, so that they hand on their errors themselves.
  async function run(handle: Handler, req: Request, res: Response): Promise<void> {
    const result = await handle(req, gate);
    if (result === undefined) res.sendStatus(204);
    else res.json(result);
  }

  return listen(createServer(app), gate);
}

async function startKoa(Framework: typeof Koa, { options, use, routes, behindProxy }: TestApp): Promise<RunningApp> {
  const gate = createKoaGate(options);
  const app = new Framework({
    proxy: behindProxy !== undefined,
    maxIpsCount: behindProxy === "every" ? 0 : 1,
    env: "test",
  });
  app.silent = true;
  for (const middleware of use?.(gate) ?? [gate.guard()]) app.use(middleware as Middleware);
  app.use(async (ctx) => {
    const handle = routes[`${ctx.method === "HEAD" ? "GET" : ctx.method} ${ctx.path}`];
    if (handle === undefined) return;
    const result = await handle(ctx, gate);
    if (result === undefined) ctx.status = 204;
    else ctx.body = result;
  });
  const handle = app.callback();
  return listen(
    createServer((req, res) => void handle(req, res)),
    gate,
  );
}

async function startNode({ options, use, routes, behindProxy }: TestApp): Promise<RunningApp> {
  const gate = createNodeGate(options);
  const steps = (use?.(gate) ?? [gate.guard()]) as unknown as NodeMiddleware[];

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const method = req.method === "HEAD" ? "GET" : req.method;
    const path = new URL(`http://test${req.url}`).pathname;
    const route = routes[`${method} ${path}`];
    const result = await route?.(req as IncomingMessage & TestRequest, gate);
    if (route === undefined || result === undefined) return void res.writeHead(route === undefined ? 404 : 204).end();
    res.setHeader("Content-Type", "application/json");
    res.end(JSON.stringify(result));
  }

  function fail(res: ServerResponse, error: unknown): void {
    const { status = 500, headers = {} } = error as { status?: number; headers?: Record<string, string> };
    if (res.headersSent) res.destroy();
    else res.writeHead(status, headers).end();
  }

  return listen(
    createServer((req, res) => {
      if (behindProxy !== undefined) readProxyAddress(req);
      const run = (index: number, error?: unknown): void => {
        const step = steps[index];
        if (error !== undefined) fail(res, error);
        else if (step !== undefined) step(req, res, (problem) => run(index + 1, problem));
        else handle(req, res).catch((problem: unknown) => fail(res, problem));
      };
      run(0);
    }),
    gate,
  );
}

/** As a server reads the PROXY protocol: the address of the connection is the address of the client. */
function readProxyAddress({ headers, socket }: IncomingMessage): void {
  const address = String(headers["x-forwarded-for"] ?? "127.0.0.1");
  Object.defineProperty(socket, "remoteAddress", { value: address, configurable: true });
}

async function listen(server: Server, gate: AnyGate): Promise<RunningApp> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;

  async function end(): Promise<void> {
    searchForSecrets(gate.metrics(), gate.health());
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await gate.close();
  }

  function close(): Promise<void> {
    return (closing ??= end());
  }

  cleanUpInTest(close);
  return { url: `http://127.0.0.1:${port}`, gate, server, close };
}
