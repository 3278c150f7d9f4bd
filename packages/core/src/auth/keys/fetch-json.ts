import type { lookup } from "node:dns";
import { request as requestHttp } from "node:http";
import type { IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate } from "node:zlib";
import { isTrustworthyUrl } from "../../lib/validate.js";
import { AddressRefused, checkAddresses, guardLookup } from "./private-address.js";

/**
 * A function like the global `fetch`, for key sets and metadata: with a proxy, a certificate authority or an agent of its own.
 * It must keep `redirect: "error"` and `signal`.
 */
export type FetchFunction = (
  url: string,
  init: { readonly headers: Record<string, string>; readonly redirect: "error"; readonly signal: AbortSignal },
) => Promise<FetchedResponse>;

/** The part of a `Response` that the gate reads. The body is a stream of bytes that `for await` can read. */
export interface FetchedResponse {
  /** Status of the response. */
  readonly status: number;
  /** Was the request redirected? Such a response is refused. */
  readonly redirected?: boolean | undefined;
  /** The body, as a stream of bytes. */
  readonly body: object | null;
}

/** Where documents may be fetched from, and by which function. */
export interface FetchRules {
  readonly allowPrivateAddresses: boolean;
  /** Hosts, as `"keycloak:8080"`, that may be plain http and private. @default none */
  readonly allowHttp?: readonly string[] | undefined;
  /** Allow addresses of this machine? Only for issuers that the options name. @default true */
  readonly allowLoopback?: boolean | undefined;
  /** Resolves host names. @default lookup of node:dns */
  readonly resolve?: typeof lookup | undefined;
  /** Fetches instead of node:http. @default none */
  readonly fetch?: FetchFunction | undefined;
}

export interface FetchOptions extends FetchRules {
  /** Aborts the request; a FetchFailure as its reason is the error. */
  readonly signal: AbortSignal;
  readonly maxBytes: number;
}

/** The failure of a fetch. Its message may be logged: it contains the host, but no other part of the address and no content. */
export class FetchFailure extends Error {
  override readonly name = "FetchFailure";
  /** The status of the answer, if the status is the reason. */
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super(message);
    this.status = status;
  }
}

/** The reason of a failed fetch for logs. Messages of other errors may quote the address, and a password in it. */
export function reasonOf(error: unknown): string {
  if (error instanceof FetchFailure || error instanceof AddressRefused) return error.message;
  const code = codeOf(error);
  return code === undefined ? "the request failed" : `the request failed: ${code}`;
}

/** The code of an error or of its causes. The global `fetch` hides the code of the connection in a cause. */
function codeOf(error: unknown): string | undefined {
  let cause = error;
  for (let depth = 0; depth < 5 && cause instanceof Error; depth += 1) {
    const code: unknown = "code" in cause ? cause.code : undefined;
    if (typeof code === "string" && /^[A-Z0-9_]+$/.test(code)) return code;
    cause = cause.cause;
  }
  return undefined;
}

/** May keys be fetched from this URL: https, http on this machine, or http from a host that the options name for this? */
export function isFetchable(text: string, { allowHttp = [] }: Pick<FetchRules, "allowHttp">): boolean {
  return isTrustworthyUrl(text) || (URL.canParse(text) && isAllowedHttp(new URL(text), allowHttp));
}

function isAllowedHttp({ protocol, host, username, password }: URL, allowHttp: readonly string[]): boolean {
  return protocol === "http:" && username === "" && password === "" && allowHttp.includes(host);
}

/** The longest host in a reason. An issuer may come from an unverified token. */
const maxHostLength = 100;

/**
 * Fetches a JSON document on a new connection. Does not follow redirects and stops reading a document that is too long. The
 * {@link reasonOf} its errors names the host.
 */
export async function fetchJson(address: string, options: FetchOptions): Promise<unknown> {
  const url = new URL(address);
  const { signal } = options;
  try {
    return parse(await read(url, options));
  } catch (error) {
    const status = error instanceof FetchFailure ? error.status : undefined;
    const reason = reasonOf(signal.aborted ? signal.reason : error);
    throw new FetchFailure(`${url.host.slice(0, maxHostLength)}: ${reason}`, status);
  }
}

function parse(bytes: Buffer): unknown {
  try {
    // Not toString(), which keeps a byte order mark.
    return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
  } catch {
    throw new FetchFailure("the answer is not JSON");
  }
}

/** `application/jwk-set+json` is the registered type (RFC 7517 8.5); kube-apiserver serves its keys as nothing else. */
const headers: Readonly<Record<string, string>> = {
  accept: "application/jwk-set+json, application/json, */*;q=0.1",
  // Some providers refuse requests without a user agent.
  "user-agent": "portcullis",
};

async function read(url: URL, options: FetchOptions): Promise<Buffer> {
  const isPrivateAllowed = options.allowPrivateAddresses || isAllowedHttp(url, options.allowHttp ?? []);
  const guarded = guardLookup(url.hostname, isPrivateAllowed, options.resolve, options.allowLoopback);
  return options.fetch === undefined
    ? readMessage(await send(url, options, guarded), options.maxBytes)
    : readResponse(url, options.fetch, options, !isPrivateAllowed);
}

async function readMessage(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const { statusCode: status = 0 } = response;
  if (status !== 200) {
    response.destroy();
    throw failureOf(status);
  }
  const encoding = response.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  const decode = decoders[encoding];
  if (decode === undefined) {
    response.destroy();
    throw new FetchFailure(`the answer has a Content-Encoding other than ${Object.keys(decoders).join(", ")}`, status);
  }
  const bytes = await collect(response as AsyncIterable<Buffer>, maxBytes);
  try {
    return await decode(bytes, { maxOutputLength: maxBytes });
  } catch (error) {
    throw codeOf(error) === "ERR_BUFFER_TOO_LARGE" ? tooLong(maxBytes) : new FetchFailure("the answer is damaged");
  }
}

type Decode = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const ungzip: Decode = promisify(gunzip);

/** Decoders bounded by the size after decompression. Object storage sends what was uploaded, whatever a request accepts. */
const decoders: Readonly<Record<string, Decode>> = Object.assign(Object.create(null) as Record<string, Decode>, {
  identity: (bytes: Buffer) => Promise.resolve(bytes),
  gzip: ungzip,
  "x-gzip": ungzip,
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
});

/** Fetches by a function of the application, after the same checks of the address. */
async function readResponse(
  url: URL,
  fetch: FetchFunction,
  options: FetchOptions,
  isChecked: boolean,
): Promise<Buffer> {
  const { signal, maxBytes } = options;
  if (isChecked) await untilAborted(signal, checkAddresses(url.hostname, options.resolve, options.allowLoopback));
  const response = await untilAborted(signal, fetch(url.href, { headers: { ...headers }, redirect: "error", signal }));
  const { status, redirected, body } = response;
  if (redirected === true) throw new FetchFailure("the answer came by a redirect, which is not followed", status);
  if (status !== 200) {
    if (body instanceof ReadableStream) await body.cancel().catch(() => undefined);
    throw failureOf(status);
  }
  if (body === null || !(Symbol.asyncIterator in body))
    throw new FetchFailure("the answer has no body to read", status);
  return untilAborted(signal, collect(body as AsyncIterable<Uint8Array>, maxBytes));
}

/** A function may ignore its signal. */
export function untilAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

async function collect(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLong(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLong(maxBytes: number): FetchFailure {
  return new FetchFailure(`the answer is longer than ${maxBytes} bytes`);
}

function failureOf(status: number): FetchFailure {
  const kind = status >= 300 && status < 400 ? "is a redirect, which is not followed," : "is not a document,";
  return new FetchFailure(`the answer ${kind} with status ${status}`, status);
}

function send(url: URL, { signal }: FetchOptions, guarded: ReturnType<typeof guardLookup>): Promise<IncomingMessage> {
  const request = url.protocol === "https:" ? requestHttps : requestHttp;
  return new Promise((settle, reject) => {
    const outgoing = request(url, {
      signal,
      lookup: guarded,
      // A connection kept for ten minutes would be an open handle, and broken when needed.
      agent: false,
      headers: { ...headers, "accept-encoding": "gzip, identity" },
    });
    outgoing.on("response", settle).on("error", reject);
    // Every other end, such as an upgrade, must reject too.
    outgoing.on("close", () => reject(new FetchFailure("the connection was closed without an answer")));
    outgoing.end();
  });
}
