import type { IncomingMessage } from "node:http";
import { ServerResponse, STATUS_CODES } from "node:http";
import { Readable } from "node:stream";
import { isDead } from "./response-end.js";
import { fieldsOf } from "./response-head.js";
import type { Interception, Interceptor } from "./interceptor.js";
import { isStreamBody, readableOf } from "./stream-body.js";
import type { BodyForm, Denied, Reply } from "./verdict.js";
import { lateError } from "./verdict.js";
import { writeAnswer } from "./write-answer.js";

/** The context of a framework that sends the body when all middleware has returned, as Koa does. */
export interface HeldResponseContext {
  status: number;
  body: unknown;
  /** False if a handler sends the response itself. */
  respond?: boolean | undefined;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly response: object;
  readonly app: {
    /** The prototype of its responses. */
    readonly response: object;
    listenerCount(event: string): number;
    emit(event: string, ...values: unknown[]): boolean;
  };
  /** Koa calls it with each error of the response. */
  onerror(error: unknown): void;
}

/** The body of a context in a form that can be sent again. */
interface Held {
  readonly form: BodyForm;
  /** Undefined for a stream. */
  readonly bytes: Buffer | undefined;
}

const nothing = Buffer.alloc(0);

/**
 * Runs the middleware behind an interceptor, and passes the response on the context, or the error, to the interceptor.
 * Middleware in front runs after that, and finds the same context for a stored response and for a new one.
 */
export async function runBehind(
  ctx: HeldResponseContext,
  interception: Interception,
  next: () => Promise<unknown>,
): Promise<void> {
  const { interceptor } = interception;
  try {
    await next();
  } catch (error) {
    const reply = isHeld(ctx, interception) ? interceptor.failed?.(statusOf(error)) : undefined;
    interception.uncover();
    if (reply === undefined) throw error;
    // As Koa does with an uncaught error: it is logged, although the client does not get it.
    if (ctx.app.listenerCount("error") > 0) ctx.app.emit("error", error, ctx);
    return replaceHeld(ctx, reply, interception);
  }
  if (isHeld(ctx, interception)) showHeld(ctx, interception);
}

/** Is the response on the context, with nothing sent? */
function isHeld({ respond, res }: HeldResponseContext, interception: Interception): boolean {
  return interception.isWaiting && respond !== false && !res.headersSent && !res.writableEnded;
}

/** The status of Koa's answer to an error. */
function statusOf(error: unknown): number {
  const { status, statusCode, code } = Object(error) as Readonly<Record<string, unknown>>;
  if (code === "ENOENT") return 404;
  const stated = status === undefined || status === 0 ? statusCode : status;
  return typeof stated === "number" && STATUS_CODES[stated] !== undefined ? stated : 500;
}

function showHeld(ctx: HeldResponseContext, interception: Interception): void {
  const { res } = ctx;
  const { interceptor, before } = interception;
  interception.uncover();
  // A destroyed response, or one whose client has gone, is not stored in a cache.
  const isLeft = interceptor.readsUnsent !== true && (res.destroyed || isDead(res));
  const held = isLeft ? undefined : readHeld(ctx);
  const answer = interceptor.returned?.({
    status: ctx.status,
    fields: fieldsOf(res),
    before,
    form: held?.form,
    body: held?.bytes,
    afterError: interception.hasFailed,
    set: (name, value) => void res.setHeader(name, value),
  });
  if (answer === undefined || answer === "pass" || held === undefined) return;
  if (answer !== "follow") return replaceHeld(ctx, answer, interception);
  const { form, bytes } = held;
  if (bytes === undefined) return followStream(streamOf(ctx), interceptor);
  // A value may differ from its JSON, as a Date does. A miss and a hit must not differ, so both get the JSON.
  if (form === "json") keepFields(ctx, () => (ctx.body = JSON.parse(bytes.toString()) as unknown));
  interceptor.complete(bytes.byteLength > interceptor.maxBytes ? undefined : bytes);
}

/** The body on the context; undefined if it cannot be sent again, or cannot be read without consuming it. */
function readHeld(ctx: HeldResponseContext): Held | undefined {
  const { body, status, req, res, response } = ctx;
  const { _explicitStatus: isExplicit = false } = response as { readonly _explicitStatus?: unknown };
  // A status that is set on a context is explicit. Without an explicit one, only the initial 404 can be restored.
  if (isExplicit === false && (body !== undefined || status !== 404)) return undefined;
  if (body === null) return { form: "null", bytes: nothing };
  if (body === undefined) {
    // Koa sends the reason phrase as the body, and the phrase is not stored. HTTP/2 has none.
    const reason = req.httpVersionMajor > 1 ? "" : (res.statusMessage as string | undefined);
    const isUsual = reason === undefined || reason === "" || reason === STATUS_CODES[status];
    if (typeof isExplicit !== "boolean" || !isUsual) return undefined;
    return { form: isExplicit ? "none" : "unset", bytes: nothing };
  }
  if (typeof body === "string") return { form: "text", bytes: Buffer.from(body) };
  if (Buffer.isBuffer(body)) return { form: "bytes", bytes: body };
  if (isStream(body)) return body.readableDidRead === true ? undefined : { form: "stream", bytes: undefined };
  if (isWebBody(body) && sendsWebBodies(ctx)) return { form: "stream", bytes: undefined };
  return readJson(body);
}

function readJson(value: unknown): Held | undefined {
  try {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) return undefined;
    // `toJSON` may make null or a string of a value. On a context these are not sent as JSON.
    return text === "null" || text.startsWith('"') ? undefined : { form: "json", bytes: Buffer.from(text) };
  } catch {
    // Koa fails on it, too.
    return undefined;
  }
}

/** The bytes that are sent for a body on the context; undefined for a stream. */
export function heldBytes(ctx: HeldResponseContext): Uint8Array | undefined {
  const { body } = ctx;
  if (typeof body === "string") return Buffer.from(body);
  if (Buffer.isBuffer(body)) return body;
  if (body === undefined || body === null || isStream(body)) return undefined;
  if (isWebBody(body) && sendsWebBodies(ctx)) return undefined;
  return readJson(body)?.bytes;
}

type AnyStream = Pick<Readable, "emit" | "pipe"> & { readonly readableDidRead?: boolean };

function isStream(body: unknown): body is AnyStream {
  const { pipe, emit } = Object(body) as Readonly<Record<string, unknown>>;
  return typeof pipe === "function" && typeof emit === "function";
}

type WebBody = Blob | ReadableStream<Uint8Array> | Response;

function isWebBody(body: unknown): body is WebBody {
  return body instanceof Blob || body instanceof ReadableStream || body instanceof Response;
}

/** Does the application send web bodies (Blob, ReadableStream, Response) as streams? Koa 2 sends them as JSON. */
const sendingWebBodies = new WeakMap<object, boolean>();

function sendsWebBodies({ app, req }: HeldResponseContext): boolean {
  let known = sendingWebBodies.get(app);
  if (known === undefined) {
    // A separate response, since a body changes the fields of its response.
    const probe = Object.assign(Object.create(app.response) as { body: unknown }, {
      req,
      res: new ServerResponse(req),
    });
    probe.body = new Blob([]);
    known = !String(probe.res.getHeader("content-type")).startsWith("application/json");
    sendingWebBodies.set(app, known);
  }
  return known;
}

/** The stream on a context. A web body is replaced by a stream, as Koa 3 would do when it sends the body. */
function streamOf(ctx: HeldResponseContext): AnyStream {
  const { body } = ctx;
  if (!isWebBody(body)) return body as AnyStream;
  const web = body instanceof Blob ? body.stream() : body instanceof Response ? (body.body ?? []) : body;
  const stream = Readable.from(web as AsyncIterable<Uint8Array>, { objectMode: false });
  keepFields(ctx, () => (ctx.body = stream));
  return stream;
}

/**
 * Collects the bytes of a stream while others read it. It wraps `emit` instead of adding a listener, since a listener would make
 * the stream flow.
 */
function followStream(stream: AnyStream, interceptor: Interceptor): void {
  const emit = stream.emit.bind(stream) as (event: string | symbol, ...values: unknown[]) => boolean;
  const chunks: Buffer[] = [];
  let size = 0;
  let isOver = false;

  function collect(chunk: unknown): void {
    const bytes =
      typeof chunk === "string"
        ? // Text is written as UTF-8, whatever its original encoding was.
          Buffer.from(chunk)
        : chunk instanceof Uint8Array
          ? Buffer.from(chunk)
          : undefined;
    size += bytes?.byteLength ?? Infinity;
    if (bytes !== undefined) chunks.push(bytes);
    if (size > interceptor.maxBytes) finish(undefined);
  }

  function finish(body: Uint8Array | undefined): void {
    isOver = true;
    chunks.length = 0;
    interceptor.complete(body);
  }

  stream.emit = function watchedEmit(event: string | symbol, ...values: unknown[]) {
    if (!isOver && event === "data") collect(values[0]);
    else if (!isOver && event === "end") finish(Buffer.concat(chunks));
    return emit(event, ...values);
  };
}

/** Fields that a context changes when its body is set. */
const fieldsWithBody = ["content-type", "content-length", "transfer-encoding"];

/** Changes the body without a change of the fields. */
function keepFields({ res }: HeldResponseContext, change: () => void): void {
  const before = fieldsWithBody.map((name) => [name, res.getHeader(name)] as const);
  change();
  for (const [name, value] of before) {
    if (value !== undefined) res.setHeader(name, value);
    // Node stops framing the body by itself if these fields are removed, even if they were not set.
    else if (res.hasHeader(name)) res.removeHeader(name);
  }
}

/** Replaces the response of a handler on the context by a reply. */
function replaceHeld(ctx: HeldResponseContext, reply: Reply, { before }: Interception): void {
  for (const name of ctx.res.getHeaderNames()) ctx.res.removeHeader(name);
  for (const [name, value] of Object.entries(before)) if (value !== undefined) ctx.res.setHeader(name, value);
  restoreHeld(ctx, reply);
}

/** Puts a refusal or another answer on the context; throws it where another answer has begun already. */
export function answerHeld(ctx: HeldResponseContext, answer: Denied | Reply): void {
  if (ctx.res.headersSent) {
    const error = lateError(answer);
    if (error !== undefined) throw error;
    return;
  }
  if (answer.form !== undefined) return restoreHeld(ctx, answer);
  for (const [name, value] of answer.headers) ctx.res.setHeader(name, value);
  ctx.status = answer.status;
  ctx.body = typeof answer.body === "string" ? answer.body : Buffer.from(answer.body);
}

/** Restores the stored response of a handler on a context, in the form that the handler used. */
function restoreHeld(ctx: HeldResponseContext, reply: Reply): void {
  const { status, headers, removed = [], form = "bytes" } = reply;
  const { res } = ctx;
  if (form === "whole" || form === "parts") {
    ctx.respond = false;
    return writeAnswer(res, reply);
  }
  if (isStreamBody(reply.body)) ignoreDisconnects(ctx);
  keepFields(ctx, () => {
    if (form !== "none" && form !== "unset") ctx.body = bodyOf(reply, form, res);
    if (form !== "unset") ctx.status = status;
  });
  for (const name of removed) if (res.hasHeader(name)) res.removeHeader(name);
  for (const [name, value] of headers) res.setHeader(name, value);
}

const disconnects: ReadonlySet<unknown> = new Set(["ERR_STREAM_PREMATURE_CLOSE", "ECONNRESET", "EPIPE"]);

/** Clients leave a stream without an end. That is no error of the application, to which Koa would report each one. */
function ignoreDisconnects(ctx: HeldResponseContext): void {
  const report = ctx.onerror.bind(ctx);
  ctx.onerror = (error) => {
    const isDisconnect = ctx.res.headersSent && disconnects.has((error as { code?: unknown } | undefined)?.code);
    if (!isDisconnect) report(error);
  };
}

function bodyOf({ body }: Reply, form: BodyForm, res: ServerResponse): unknown {
  if (isStreamBody(body)) return readableOf(body, res);
  if (form === "json" || form === "text") {
    const text =
      typeof body === "string" ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
    return form === "text" ? text : (JSON.parse(text) as unknown);
  }
  const bytes = typeof body === "string" ? Buffer.from(body) : Buffer.from(body);
  if (form === "stream") return Readable.from(bytes.byteLength === 0 ? [] : [bytes], { objectMode: false });
  return form === "null" ? null : bytes;
}
