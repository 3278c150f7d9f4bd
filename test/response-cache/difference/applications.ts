import { createHash } from "node:crypto";
import { createReadStream, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { createGzip, gzipSync } from "node:zlib";
import type { Gzip } from "node:zlib";
import type { NextFunction, Request, Response } from "express";
import type { Context, Next } from "koa";
import type { AnyGate, AnyMiddleware } from "../../support/app.js";
import { cacheOptions, isRaw } from "./scenarios.js";
import type { Front, Scenario } from "./scenarios.js";

type ForExpress = (req: Request, res: Response, next: NextFunction, scenario: Scenario) => unknown;
type ForKoa = (ctx: Context, next: Next, scenario: Scenario) => unknown;
type ScenarioAt = (url: string) => Scenario;

/** Everything in front of the handlers, and the handlers. Without `cached` it is the same application without a cache. */
export function stack(gate: AnyGate, scenarioAt: ScenarioAt, files: Files, cached: boolean): AnyMiddleware[] {
  const front = (name: Front, express: ForExpress, koa: ForKoa): AnyMiddleware =>
    both(
      scenarioAt,
      (req, res, next, scenario) => (scenario.fronts.includes(name) ? express(req, res, next, scenario) : next()),
      (ctx, next, scenario) => (scenario.fronts.includes(name) ? koa(ctx, next, scenario) : next()),
    );
  return [
    front(
      "fields",
      (_req, res, next) => (res.set(frontFields), next()),
      (ctx, next) => (ctx.set(frontFields), next()),
    ),
    front("late", lateForExpress, lateForKoa),
    front("compression", compressForExpress, compressForKoa),
    front("conditional", (_req, _res, next) => next(), conditionalForKoa),
    front("etag", (_req, _res, next) => next(), tagForKoa),
    front("envelope", envelopeForExpress, envelopeForKoa),
    ...(cached ? [cacheOf(gate, scenarioAt)] : []),
    both(
      scenarioAt,
      (req, res, next, { compresses }) => (compresses ? compressForExpress(req, res, next) : next()),
      (ctx, next, { compresses }) => (compresses ? compressForKoa(ctx, next) : next()),
    ),
    both(
      scenarioAt,
      (req, res, next, scenario) => handleForExpress(req, res, next, scenario, files),
      (ctx, _next, scenario) => handleForKoa(ctx, scenario, files),
    ),
  ];
}

function both(scenarioAt: ScenarioAt, express: ForExpress, koa: ForKoa): AnyMiddleware {
  function middleware(first: unknown, second: unknown, third?: unknown): unknown {
    if (typeof third !== "function") {
      const ctx = first as Context;
      return koa(ctx, second as Next, scenarioAt(ctx.originalUrl));
    }
    const req = first as Request;
    return express(req, second as Response, third as NextFunction, scenarioAt(req.originalUrl));
  }
  return middleware as AnyMiddleware;
}

/** One of several caches of the gate, as the scenario says. */
function cacheOf(gate: AnyGate, scenarioAt: ScenarioAt): AnyMiddleware {
  const caches = Object.fromEntries(
    Object.entries(cacheOptions).map(([name, options]) => [name, gate.cacheResponse(options)]),
  );
  const chosen = ({ cache }: Scenario): AnyMiddleware => caches[cache] as AnyMiddleware;
  return both(
    scenarioAt,
    (req, res, next, scenario) => chosen(scenario)(req as never, res as never, next as never),
    (ctx, next, scenario) => chosen(scenario)(ctx as never, next as never, undefined as never),
  );
}

/** Files by their content, all of one age. */
export interface Files {
  of(text: string): string;
  remove(): Promise<void>;
}

export async function makeFiles(): Promise<Files> {
  const folder = await mkdtemp(join(tmpdir(), "differences-"));
  const known = new Map<string, string>();
  return {
    of(text) {
      const path = known.get(text) ?? join(folder, `${known.size}.txt`);
      if (!known.has(text)) writeFileSync(path, text);
      known.set(text, path);
      return path;
    },
    remove: () => rm(folder, { recursive: true }),
  };
}

const frontFields = { "X-Front": "front", "X-Taken": "1", Vary: "Origin" };

/** What the handler says to this request, whichever framework it is written for. */
function textFor({ text, varies }: Scenario, url: string, language: string | undefined): string {
  return `${text}${url}${varies ? String(language) : ""}`;
}

function prepare(res: ServerResponse, { fields, varies, removes }: Scenario): void {
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) res.setHeader(name, value);
  if (removes) res.removeHeader("X-Taken");
  if (!varies) return;
  const known = res.getHeader("vary");
  res.setHeader("Vary", known === undefined ? "Accept-Language" : `${String(known)}, Accept-Language`);
}

function fail({ status }: Scenario): never {
  const message = "a failure of the handler";
  throw Object.assign(new Error(message), { stack: message, status: Math.max(400, status), expose: true });
}

/** Answers by node:http alone; false where the framework is to do it. */
function answerRaw(res: ServerResponse, { way, status }: Scenario, text: string): boolean {
  if (!isRaw(way)) return false;
  if (way === "writeHead") {
    res.writeHead(status, { "X-Head": "1", "Content-Length": Buffer.byteLength(text) });
    res.end(text);
    return true;
  }
  res.statusCode = status;
  if (way === "end") res.end(text);
  else {
    res.write(text);
    setImmediate(() => {
      res.write(Buffer.from(text));
      res.end("the end");
    });
  }
  return true;
}

function handleForExpress(req: Request, res: Response, next: NextFunction, scenario: Scenario, files: Files): void {
  const text = textFor(scenario, req.originalUrl, req.get("accept-language"));
  const { way, status } = scenario;
  prepare(res, scenario);
  if (way === "throws") {
    try {
      fail(scenario);
    } catch (error) {
      return next(error);
    }
  }
  if (way === "nothing") return next();
  if (answerRaw(res, scenario, text)) return;
  res.status(status);
  if (way === "json") res.json({ text });
  else if (way === "text") res.send(text);
  else if (way === "bytes") res.send(Buffer.from(text));
  else if (way === "empty") res.end();
  else if (way === "file")
    res.sendFile(files.of(text), (error?: Error) => (error === undefined ? undefined : next(error)));
  else Readable.from([Buffer.from(text), Buffer.from(text)]).pipe(res);
}

function handleForKoa(ctx: Context, scenario: Scenario, files: Files): void {
  const text = textFor(scenario, ctx.originalUrl, ctx.get("accept-language") || undefined);
  const { way, status, fields } = scenario;
  prepare(ctx.res, scenario);
  if (way === "throws") fail(scenario);
  if (way === "nothing") return;
  if (answerRaw(ctx.res, scenario, text)) {
    ctx.respond = false;
    return;
  }
  ctx.status = status;
  if (way === "json") ctx.body = { text };
  else if (way === "text") ctx.body = text;
  else if (way === "bytes") ctx.body = Buffer.from(text);
  else if (way === "stream") ctx.body = Readable.from([Buffer.from(text), Buffer.from(text)]);
  else if (way === "file") {
    const path = files.of(text);
    if (fields["content-type"] === undefined) ctx.type = "txt";
    ctx.lastModified = statSync(path).mtime;
    ctx.body = createReadStream(path);
  }
}

const isEmpty = (status: number): boolean => status === 204 || status === 304;

/** As compression does it: with the head, for each write, and not for what is encoded. */
function compressForExpress(req: Request, res: Response, next: NextFunction): void {
  const writeHead = res.writeHead.bind(res);
  const write = res.write.bind(res) as (chunk: unknown, encoding?: unknown) => boolean;
  const end = res.end.bind(res) as (chunk?: unknown, encoding?: unknown) => Response;
  let gzip: Gzip | undefined;
  let isDecided = false;

  function decide(): void {
    if (isDecided) return;
    isDecided = true;
    if (isEmpty(res.statusCode) || res.getHeader("content-encoding") !== undefined) return;
    res.vary("Accept-Encoding");
    if (req.get("accept-encoding") !== "gzip" || res.statusCode === 206) return;
    res.setHeader("Content-Encoding", "gzip");
    res.removeHeader("Content-Length");
    if (req.method === "HEAD") return;
    gzip = createGzip();
    gzip.on("data", (chunk: Buffer) => write(chunk)).on("end", () => end());
  }

  res.writeHead = function compressedWriteHead(status: number, ...rest: unknown[]) {
    res.statusCode = status;
    const [given] = rest;
    if (typeof given === "object" && given !== null)
      for (const [name, value] of Object.entries(given)) res.setHeader(name, value as string);
    decide();
    return writeHead(res.statusCode);
  };
  res.write = function compressedWrite(chunk: unknown, encoding?: unknown) {
    if (!res.headersSent) res.writeHead(res.statusCode);
    return gzip === undefined ? write(chunk, encoding) : gzip.write(chunk);
  };
  res.end = function compressedEnd(chunk?: unknown, encoding?: unknown) {
    decide();
    if (gzip === undefined) return end(chunk, encoding);
    if (!res.headersSent) res.writeHead(res.statusCode);
    gzip.end(chunk as Buffer);
    return res;
  };
  next();
}

async function compressForKoa(ctx: Context, next: Next): Promise<void> {
  await next();
  const body = ctx.body;
  if (body === undefined || body === null || ctx.respond === false) return;
  if (isEmpty(ctx.status) || ctx.res.hasHeader("content-encoding")) return;
  ctx.vary("Accept-Encoding");
  if (ctx.get("accept-encoding") !== "gzip") return;
  ctx.set("Content-Encoding", "gzip");
  const type = ctx.res.getHeader("content-type");
  ctx.body = body instanceof Readable ? body.pipe(createGzip()) : gzipSync(bytesOf(body));
  if (type !== undefined) ctx.res.setHeader("Content-Type", type);
  else ctx.remove("Content-Type");
}

function bytesOf(body: unknown): string | Buffer {
  return typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
}

async function conditionalForKoa(ctx: Context, next: Next): Promise<void> {
  await next();
  if (!ctx.fresh) return;
  ctx.status = 304;
  ctx.body = null;
}

async function tagForKoa(ctx: Context, next: Next): Promise<void> {
  await next();
  const body = ctx.body;
  if (body === undefined || body === null || body instanceof Readable || ctx.res.hasHeader("etag")) return;
  if (Math.floor(ctx.status / 100) !== 2) return;
  ctx.response.etag = createHash("sha256").update(bytesOf(body)).digest("base64url").slice(0, 20);
}

function envelopeForExpress(_req: Request, res: Response, next: NextFunction): void {
  const json = res.json.bind(res);
  res.json = (value: unknown) => json({ ok: true, data: value });
  next();
}

async function envelopeForKoa(ctx: Context, next: Next): Promise<void> {
  await next();
  const body = ctx.body;
  if (body === undefined || body === null || body instanceof Readable) return;
  if (typeof body === "string") ctx.body = `${body} in an envelope`;
  else if (Buffer.isBuffer(body)) ctx.body = Buffer.concat([Buffer.from("in an envelope: "), body]);
  else ctx.body = { ok: true, data: body };
}

function lateForExpress(_req: Request, res: Response, next: NextFunction): void {
  const writeHead = res.writeHead.bind(res) as (...given: unknown[]) => Response;
  res.writeHead = function lateWriteHead(...given: unknown[]) {
    res.setHeader("X-Late", "1");
    return writeHead(...given);
  };
  next();
}

async function lateForKoa(ctx: Context, next: Next): Promise<void> {
  await next();
  if (!ctx.headerSent) ctx.set("X-Late", "1");
}
