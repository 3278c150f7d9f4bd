/** The parts of a request of node:http that middleware needs. */
interface PlainRequest {
  readonly headers?: unknown;
  readonly method?: unknown;
  readonly url?: unknown;
  readonly socket?: { readonly remoteAddress?: unknown } | undefined;
  originalUrl?: unknown;
  ip?: unknown;
  res?: unknown;
}

interface PlainResponse {
  readonly setHeader?: unknown;
  readonly end?: unknown;
}

/**
 * Adds the properties of an Express request to a request of node:http: for `createServer()`, connect, or the engine of
 * Socket.IO. No proxy is trusted there, so the address is that of the socket. Returns an error, at every call, if a part is
 * missing: without an address all clients would count as one. Throws without `next`.
 */
export function decorateRequest(req: unknown, res: unknown, next: unknown): TypeError | undefined {
  if (typeof next !== "function") throw callError("middleware for Express was called without next");
  const request = (req ?? {}) as PlainRequest;
  const response = (res ?? {}) as PlainResponse;
  const { headers, method, url, socket } = request;
  if (typeof headers !== "object" || headers === null || typeof method !== "string" || typeof url !== "string")
    return callError("the first argument is not a request of Express or node:http");
  if (typeof response.setHeader !== "function" || typeof response.end !== "function")
    return callError("the second argument is not a response of Express or node:http");
  if (typeof request.ip !== "string" && (typeof socket !== "object" || (socket as object | null) === null))
    return callError("the request has neither a socket nor an ip, so its client has no address");
  give(request, "res", response);
  give(request, "originalUrl", url);
  giveAddress(request);
  return undefined;
}

/** The error of middleware that was called with the arguments of another framework. */
export function callError(problem: string): TypeError {
  const advice = "use the package of your framework, and mount its middleware with app.use()";
  return new TypeError(`portcullis: ${problem}; ${advice}, or ask gate.verify() outside of it`);
}

/** Passes an error to the callback of frameworks that ignore a returned promise. Rejects where there is none. */
export function failCall(error: TypeError, callback: unknown): Promise<void> {
  if (typeof callback !== "function") return Promise.reject(error);
  (callback as (error: TypeError) => void)(error);
  return Promise.resolve();
}

/** Calls `next`. That of Koa returns a promise; one that an application passes by hand may return a value, or throw. */
export function callHandler(next: () => unknown): Promise<unknown> {
  try {
    const behind = next();
    return behind instanceof Promise ? behind : Promise.resolve(behind);
  } catch (error) {
    return Promise.resolve().then(() => {
      throw error;
    });
  }
}

function give(request: PlainRequest, name: "res" | "originalUrl", value: unknown): void {
  if (request[name] === undefined) define(request, name, value);
}

function define(request: PlainRequest, name: string, value: unknown): void {
  Object.defineProperty(request, name, { value, configurable: true, enumerable: true, writable: true });
}

/**
 * Adds the address of the socket as `ip`, until an Express application behind takes over the request: its own `ip` follows its
 * proxy-trust setting, and a plain property of the request would hide it.
 */
function giveAddress(request: PlainRequest): void {
  if (request.ip !== undefined) return;
  const address = request.socket?.remoteAddress;
  Object.defineProperty(request, "ip", {
    get: () => (Reflect.get(Object.getPrototypeOf(request) as object, "ip", request) as unknown) ?? address,
    set: (ip: unknown) => define(request, "ip", ip),
    configurable: true,
    enumerable: true,
  });
}
